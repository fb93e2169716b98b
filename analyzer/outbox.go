package analyzer

import "github.com/keepscope/keepscope/analyzer/fact"

// outboxSize is how many facts of a kind are told at once at most.
const outboxSize = 32

// An outbox holds the facts that the Observers have not heard. Told one by one,
// each would find an Observer's code gone from the processor's cache, and drive
// out the Analyzer's: together they are larger than it is.
type outbox struct {
	exchanges   [outboxSize]fact.Exchange
	connections [outboxSize]fact.Connection
	hellos      [outboxSize]fact.TLS // those that the connections point at
	before      [outboxSize]int      // how many exchanges each connection came after

	numExchanges, numConnections int
}

// newExchange returns the place for one more exchange, which is told sometime.
func (a *Analyzer) newExchange() *fact.Exchange {
	if a.outbox.numExchanges == outboxSize {
		a.tell()
	}
	b := &a.outbox
	b.numExchanges++
	return &b.exchanges[b.numExchanges-1]
}

// newConnection returns the place for one more connection, which is told
// sometime, and one for its TLS handshake.
func (a *Analyzer) newConnection() (*fact.Connection, *fact.TLS) {
	if a.outbox.numConnections == outboxSize {
		a.tell()
	}
	b := &a.outbox
	i := b.numConnections
	b.numConnections++
	b.before[i] = b.numExchanges
	return &b.connections[i], &b.hellos[i]
}

// tell tells each Observer what is in the outbox, in the order in which it came.
func (a *Analyzer) tell() {
	for _, o := range a.obs {
		a.outbox.tell(o)
	}
	a.outbox.numExchanges, a.outbox.numConnections = 0, 0
}

func (b *outbox) tell(o fact.Observer) {
	e := 0
	for i := range b.connections[:b.numConnections] {
		for ; e < b.before[i]; e++ {
			o.Exchange(&b.exchanges[e])
		}
		o.Connection(&b.connections[i])
	}
	for ; e < b.numExchanges; e++ {
		o.Exchange(&b.exchanges[e])
	}
}
