package http1

// BeginsLike reports whether b begins like a message of the given kind, so that
// a reader who does not know which side of a connection is which can tell.
func BeginsLike(kind Kind, b []byte) bool { return begins(kind, b) }

// InHead reports whether a head has begun and is not complete.
func (p *Parser) InHead() bool { return p.state == inHead }
