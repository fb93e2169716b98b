package analyzer

// outboxSize is how many facts of a kind are told at once at most.
const outboxSize = 32

// An outbox holds the facts that the Observer has not heard. Told one by one,
// each would find the Observer's code gone from the processor's cache, and drive
// out the Analyzer's: together they are larger than it is.
type outbox struct {
	exchanges   [outboxSize]Exchange
	connections [outboxSize]Connection
	hellos      [outboxSize]TLS // those that the connections point at
	before      [outboxSize]int // how many exchanges each connection came after

	numExchanges, numConnections int
}

// newExchange returns the place for one more exchange, which is told sometime.
func (a *Analyzer) newExchange() *Exchange {
	if a.outbox.numExchanges == outboxSize {
		a.tell()
	}
	b := &a.outbox
	b.numExchanges++
	return &b.exchanges[b.numExchanges-1]
}

// newConnection returns the place for one more connection, which is told
// sometime, and one for its TLS handshake.
func (a *Analyzer) newConnection() (*Connection, *TLS) {
	if a.outbox.numConnections == outboxSize {
		a.tell()
	}
	b := &a.outbox
	i := b.numConnections
	b.numConnections++
	b.before[i] = b.numExchanges
	return &b.connections[i], &b.hellos[i]
}

// tell tells the Observer what is in the outbox, in the order in which it came.
func (a *Analyzer) tell() {
	b, e := &a.outbox, 0
	for i := range b.connections[:b.numConnections] {
		for ; e < b.before[i]; e++ {
			a.obs.Exchange(&b.exchanges[e])
		}
		a.obs.Connection(&b.connections[i])
	}
	for ; e < b.numExchanges; e++ {
		a.obs.Exchange(&b.exchanges[e])
	}
	b.numExchanges, b.numConnections = 0, 0
}
