package software

// A Recent recognises as Client and Server do, and faster what it was asked lately:
// hosts run a few programs, which name themselves on each of their connections
// (BenchmarkRecent). The zero value is ready. It is not safe for concurrent use.
type Recent struct{ clients, servers [recentLen]recent }

// recentLen is how many values are remembered of each kind.
const recentLen = 32

type recent struct {
	value [160]byte
	n     uint8
	id    ID
}

// Client returns what the function Client does.
func (r *Recent) Client(userAgent, via []byte, forwarded bool) ID {
	if forwarded || len(via) > 0 {
		return Client(userAgent, via, forwarded)
	}
	return ask(&r.clients, userAgent, client)
}

// Server returns what the function Server does.
func (r *Recent) Server(server, via []byte) ID {
	if len(via) > 0 {
		return Server(server, via)
	}
	return ask(&r.servers, server, serverOf)
}

// ask returns what recognise says of a value. What is too long to be remembered is
// recognised each time.
func ask(list *[recentLen]recent, value []byte, recognise func([]byte) ID) ID {
	n := len(value)
	switch {
	case n == 0:
		return Unknown
	case n > len(list[0].value):
		return recognise(value)
	}
	e := &list[(uint(value[n-1])*31^uint(value[n/2])*7^uint(value[0])^uint(n))%recentLen]
	if string(e.value[:e.n]) != string(value) {
		e.n, e.id = uint8(copy(e.value[:], value)), recognise(value)
	}
	return e.id
}
