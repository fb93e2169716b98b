package reassembly

import "github.com/keepscope/keepscope/sniffer"

// A Stall is how long a receiver's window stood at zero (RFC 9293 §3.8.6.1): it
// did not read what it was sent. Zero is zero whatever the window's scale.
type Stall struct {
	Since   int64 // when it began to stand there, 0 while it does not
	Longest int64 // nanoseconds, up to now where it stands there
	Total   int64
	Moved   bool // the last time it opened, more than a probe's byte followed
}

// A window is what is kept of a direction's receive window once it was zero.
type window struct {
	since    int64
	longest  int64
	total    int64
	position uint32 // of the other side's stream when it became zero
}

// ZeroWindow returns since when the receive window of a side stands at zero,
// and false while it does not.
func (c *Conn) ZeroWindow(d Dir) (since int64, ok bool) {
	if c.cold == nil || c.cold.windows == nil {
		return 0, false
	}
	since = c.cold.windows[d].since
	return since, since != 0
}

// Stall returns the times at which the receive window of a side stood at zero.
func (c *Conn) Stall(d Dir) Stall {
	if c.cold == nil || c.cold.windows == nil {
		return Stall{}
	}
	w := &c.cold.windows[d]
	s := Stall{Since: w.since, Longest: w.longest, Total: w.total}
	if w.since != 0 {
		n := max(c.Last-w.since, 0)
		s.Longest, s.Total = max(s.Longest, n), s.Total+n
	} else {
		s.Moved = s.Total > 0 && diff(c.next[d.Other()], w.position) > 1
	}
	return s
}

// window notes the window that a segment of dir tells. That of a SYN is not yet
// the connection's, that of a RST is none.
func (a *Assembler) window(c *Conn, dir Dir, s *sniffer.Segment) {
	if s.Flags&(sniffer.SYN|sniffer.RST) != 0 {
		return
	}
	if s.Window == 0 {
		r := a.coldOf(c)
		if r.windows == nil {
			r.windows = new([2]window)
		}
		if w := &r.windows[dir]; w.since == 0 {
			w.since, w.position = s.Time, c.next[dir.Other()]
		}
		return
	}
	if c.cold == nil || c.cold.windows == nil {
		return
	}
	if w := &c.cold.windows[dir]; w.since != 0 {
		n := max(s.Time-w.since, 0)
		w.longest, w.total, w.since = max(w.longest, n), w.total+n, 0
	}
}
