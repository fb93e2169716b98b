package sniffertest

import "github.com/keepscope/keepscope/sniffer"

// A sent is a segment and all of its payload, which the capture may have cut.
type sent struct {
	sniffer.Segment
	whole []byte
}

// A stream is what one side of a connection has sent.
type stream struct {
	next   int64 // place of the next byte, a FIN counting as one
	syn    bool
	last   Message // that took sequence numbers, its Seq set
	hasAny bool    // last is set
}

// Segments returns what a decoder yields of the conversation. The segments'
// payloads are the script's: read only.
func (s *Script) Segments() []sniffer.Segment {
	all := s.render()
	segments := make([]sniffer.Segment, len(all))
	for i := range all {
		segments[i] = all[i].Segment
	}
	return segments
}

// render plays the script.
func (s *Script) render() []sent {
	r := renderer{mss: s.mss, streams: make(map[*Conn]*[2]stream)}
	for i := range s.events {
		r.event(&s.events[i])
	}
	return r.out
}

type renderer struct {
	mss     int
	streams map[*Conn]*[2]stream
	out     []sent
}

func (r *renderer) event(e *event) {
	if e.kind == datagram {
		r.datagram(e)
		return
	}
	streams := r.streams[e.conn]
	if streams == nil {
		streams = new([2]stream)
		r.streams[e.conn] = streams
	}
	own := &streams[e.message.From]
	switch e.kind {
	case gap:
		own.next += e.gap
	case dup:
		if own.hasAny {
			m := own.last
			m.At = e.message.At
			r.send(e.conn, streams, m)
		}
	case probe:
		m, before := e.message, own.next-1
		m.Seq = &before
		r.send(e.conn, streams, m)
	case send:
		r.send(e.conn, streams, e.message)
	}
}

func (r *renderer) datagram(e *event) {
	m := &e.message
	seg := sniffer.Segment{
		Time: Base.UnixNano() + int64(m.At), Src: e.src, Dst: e.dst,
		Length: uint32(len(m.Payload)), Payload: captured(m, m.Payload), Protocol: sniffer.DNS,
	}
	if m.Interface != nil {
		seg.Interface = *m.Interface
	}
	r.out = append(r.out, sent{seg, m.Payload})
}

func captured(m *Message, payload []byte) []byte {
	if m.Captured != nil && *m.Captured < len(payload) {
		payload = payload[:*m.Captured]
	}
	return payload[:len(payload):len(payload)]
}

// send renders a message, in as many segments as it takes.
func (r *renderer) send(c *Conn, streams *[2]stream, m Message) {
	own, peer := &streams[m.From], &streams[m.From^1]
	at := own.next
	if m.Seq != nil {
		at = *m.Seq
	}
	seg := r.header(c, &m, peer)
	syn := m.Flags&sniffer.SYN != 0
	place, rest := at, m.Payload
	for first := true; first || len(rest) > 0; first = false {
		piece := rest[:min(len(rest), r.limit(c, &m))]
		rest = rest[len(piece):]
		seg.Flags = flags(&m, first, len(rest) == 0, len(piece) > 0)
		seg.Seq = c.isn[m.From] + 1 + uint32(place)
		if syn && first {
			seg.Seq--
		}
		if m.Flags&sniffer.RST != 0 && m.Seq == nil && !own.syn && own.next == 0 && peer.syn {
			seg.Seq = 0
		}
		seg.Length, seg.Payload = uint32(len(piece)), captured(&m, piece)
		r.out = append(r.out, sent{seg, piece})
		place += int64(len(piece))
	}
	if m.Flags&sniffer.FIN != 0 {
		place++
	}
	own.syn = own.syn || syn
	if syn || place > at {
		own.last, own.hasAny = m, true
		own.last.Seq = &at
	}
	own.next = max(own.next, place)
}

// header returns what all segments of a message have in common.
func (r *renderer) header(c *Conn, m *Message, peer *stream) sniffer.Segment {
	seg := sniffer.Segment{
		Time:      Base.UnixNano() + int64(m.At),
		Src:       c.endpoint[m.From],
		Dst:       c.endpoint[m.From^1],
		Interface: c.iface,
		Window:    c.window,
		Protocol:  sniffer.TCP,
	}
	if m.Interface != nil {
		seg.Interface = *m.Interface
	}
	if m.Window != nil {
		seg.Window = *m.Window
	}
	if flags(m, true, true, false)&sniffer.ACK != 0 {
		acked := peer.next
		if m.Ack != nil {
			acked = *m.Ack
		}
		seg.Ack = c.isn[m.From^1] + 1 + uint32(acked)
	}
	return seg
}

func (r *renderer) limit(c *Conn, m *Message) int {
	for _, n := range [...]int{r.mss, m.MSS, c.mss} {
		if n > 0 {
			return min(n, MaxMSS)
		}
	}
	return MaxMSS
}

// flags returns the flags of a message's first, last or only segment.
func flags(m *Message, first, last, payload bool) sniffer.Flags {
	f := m.Flags
	if !first {
		f &^= sniffer.SYN
	}
	if !last {
		f &^= sniffer.FIN | sniffer.RST | sniffer.PSH
	}
	if last && payload && f&sniffer.SYN == 0 {
		f |= sniffer.PSH
	}
	if m.Flags&sniffer.SYN == 0 {
		f |= sniffer.ACK
	}
	if m.NoAck {
		f &^= sniffer.ACK
	}
	return f
}
