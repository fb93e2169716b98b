package reassembly

// Doubts are what a connection was told that a TCP stack would not believe yet.
type doubts struct {
	reset   [2]Closing // a RST in the receiver's window that is not exact
	opening opening
	answers [3]answer
}

// An answer is a SYN-ACK with another number than the first one's.
type answer struct {
	first uint32 // its number + 1
	at    int64  // 0: there is none
}

// doubts returns what is doubtful about a connection, or nil.
func (c *Conn) doubts() *doubts {
	if c.cold == nil {
		return nil
	}
	return c.cold.doubts
}

func (a *Assembler) doubtsOf(c *Conn) *doubts {
	r := a.coldOf(c)
	if r.doubts == nil {
		r.doubts = new(doubts)
	}
	return r.doubts
}

// any reports whether anything is doubtful.
func (d *doubts) any() bool {
	return d.reset[Client].With != NotClosed || d.reset[Server].With != NotClosed ||
		d.opening.flags != 0 || d.answers[0].first != 0 || d.answers[0].at != 0
}

// addAnswer keeps a SYN-ACK that the client may acknowledge yet; the first ones
// are kept.
func (d *doubts) addAnswer(first uint32, t int64) {
	for i := range d.answers {
		k := &d.answers[i]
		if k.at == 0 {
			*k = answer{first, t}
		}
		if k.first == first {
			return
		}
	}
}

// answer returns the time of the SYN-ACK that an acknowledgment answers.
func (d *doubts) answer(ack uint32) (t int64, ok bool) {
	for _, k := range d.answers {
		if k.at != 0 && k.first == ack {
			return k.at, true
		}
	}
	return 0, false
}
