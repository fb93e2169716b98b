package tally

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
)

// unusual counts what few connections have.
func (f *Figures) unusual(c *fact.Connection) {
	if c.SYNs > 1 && c.Handshake == fact.HandshakeComplete {
		f.Repeated.add(c, 0)
		if c.Path != nil {
			f.RepeatDelay.Add(c.Path.SYNRetries)
		}
	}
	if c.Path != nil {
		f.path(c)
	}
	if c.TLS != nil && c.Protocol == fact.ProtocolH2 && c.Keys != fact.KeysDecrypted {
		f.UnreadHTTP2.add(c, 0)
	}
	if c.Streams != nil {
		if f.HTTP2 == nil {
			f.HTTP2 = new(HTTP2)
		}
		f.HTTP2.add(c)
	}
	n := c.Failed[fact.FailCloseIgnored]
	if c.Streams != nil {
		n += c.Streams.Ignored
	}
	if n > 0 {
		f.Ignored[min(c.Reason, fact.NumReasons-1)] += uint64(n)
	}
	if c.Tunnel != nil {
		f.tunnel(c)
	}
}

// shortStall is how long a window stands at zero before that is more than a pause.
const shortStall = int64(1e9)

func (f *Figures) path(c *fact.Connection) {
	p := c.Path
	if p.Dropped > 0 && !c.Estimated {
		f.Path.Dropped.Add(p.Dropped)
	}
	f.Path.Probes[0] += uint64(p.Probes[0])
	f.Path.Probes[1] += uint64(p.Probes[1])
	if p.Interval > 0 {
		f.Path.Intervals.Add(p.Interval)
	}
	switch ns := p.Stalled[fact.ByClient]; {
	case p.StalledAtEnd[fact.ByClient] && c.Reason == fact.ReasonOpen:
		f.StallsOpen.add(c.End-ns, ns)
		f.Stalled.add(c, ns)
	case p.StalledAtEnd[fact.ByClient]:
		f.StallsToEnd.Add(ns)
		f.Stalled.add(c, ns)
	case ns > shortStall:
		f.StallsOver.Add(ns)
		f.Stalled.add(c, ns)
	}
}

func (f *Figures) tunnel(c *fact.Connection) {
	t := f.Tunnels[c.Tunnel.Target]
	if t == nil {
		if len(f.Tunnels) >= maxTunnels {
			return
		}
		if f.Tunnels == nil {
			f.Tunnels = Tunnels{}
		}
		t = new(Tunnel)
		f.Tunnels[c.Tunnel.Target] = t
	}
	t.Opened++
	if c.Verdict == fact.VerdictWasted {
		t.Wasted[min(c.Cause, fact.NumCauses-1)].add(c, Cost(c))
	}
}

// An HTTP2 is what is kept of HTTP/2 connections alone.
type HTTP2 struct {
	Connections   uint64
	Requests      Histogram // on each
	MaxConcurrent Histogram
	Wasted        [fact.NumCauses]Counted
	Refused       uint64
	OpenNS        int64
	AtLimitNS     int64
	AtLimit       Example
	Limit         uint32 // the newest
	LimitAt       int64
	Goaways       [NumSides][http.NumCodes + 1]uint64 // by code; the last is any other
	Drained       Counted                             // a server's GOAWAY without error, for which the connection ended
	DrainedAfter  Histogram                           // requests before it
	DrainedAge    Histogram
	TooManyPings  Counted
	Errors        Counted                   // other GOAWAYs with an error, for which the connection ended
	Ignored       Counted                   // streams that were opened after the GOAWAY that refused them had arrived
	HTTP11        Counted                   // streams that the server reset with HTTP_1_1_REQUIRED
	Aborted       Counted                   // streams that the server reset with another error before it had answered them
	AbortedWith   [http.NumCodes + 1]uint64 // by code; the last is any other
	PingIntervals Histogram
	GRPC          uint64
	GRPCStatus    [http.NumGRPCStatuses]uint64
}

func (h *HTTP2) add(c *fact.Connection) {
	s := c.Streams
	h.Connections++
	if c.Requests > 0 {
		h.Requests.Add(int64(c.Requests))
	}
	h.MaxConcurrent.Add(int64(s.MaxConcurrent))
	if c.Verdict == fact.VerdictWasted {
		h.Wasted[min(c.Cause, fact.NumCauses-1)].add(c, Cost(c))
	}
	h.Refused += uint64(s.Refused)
	h.OpenNS += c.End - c.Start
	if s.AtLimit > 0 {
		h.AtLimitNS += s.AtLimit
		h.AtLimit.set(c)
	}
	if s.Limit != http.Unlimited && c.End >= h.LimitAt {
		h.Limit, h.LimitAt = s.Limit, c.End
	}
	h.goaways(c)
	if s.GRPC {
		h.GRPC++
		for i, n := range s.GRPCStatus {
			h.GRPCStatus[i] += uint64(n)
		}
	}
}

func (h *HTTP2) goaways(c *fact.Connection) {
	s := c.Streams
	for by := range s.Goaway {
		if g := &s.Goaway[by]; g.Seen {
			h.Goaways[by][min(g.Code, http.NumCodes)]++
		}
	}
	if s.HTTP11 > 0 {
		h.HTTP11.add(c, 0)
		h.HTTP11.N += uint64(s.HTTP11) - 1
	}
	if s.Aborted > 0 {
		h.Aborted.add(c, 0)
		h.Aborted.N += uint64(s.Aborted) - 1
		h.AbortedWith[min(s.AbortedWith, http.NumCodes)] += uint64(s.Aborted)
	}
	if s.Ignored > 0 {
		h.Ignored.add(c, 0)
		h.Ignored.N += uint64(s.Ignored) - 1
	}
	g := &s.Goaway[fact.ByServer]
	switch {
	case s.TooManyPings():
		h.TooManyPings.add(c, 0)
		if s.PingInterval > 0 {
			h.PingIntervals.Add(s.PingInterval)
		}
	case c.Reason == fact.ReasonGoawayError:
		h.Errors.add(c, 0)
	case c.Reason == fact.ReasonServerGoaway:
		h.Drained.add(c, 0)
		h.DrainedAfter.Add(int64(c.Requests))
		h.DrainedAge.Add(g.First - c.Start)
	}
}

func (h *HTTP2) merge(o *HTTP2) {
	h.Connections += o.Connections
	for i := range h.Wasted {
		h.Wasted[i].merge(&o.Wasted[i])
	}
	h.Refused += o.Refused
	h.OpenNS += o.OpenNS
	h.AtLimitNS += o.AtLimitNS
	h.AtLimit.merge(&o.AtLimit)
	if o.LimitAt > h.LimitAt || o.LimitAt == h.LimitAt && o.Limit > h.Limit {
		h.Limit, h.LimitAt = o.Limit, o.LimitAt
	}
	for by := range h.Goaways {
		addAll(h.Goaways[by][:], o.Goaways[by][:])
	}
	h.Drained.merge(&o.Drained)
	h.TooManyPings.merge(&o.TooManyPings)
	h.Errors.merge(&o.Errors)
	h.HTTP11.merge(&o.HTTP11)
	h.Ignored.merge(&o.Ignored)
	h.Aborted.merge(&o.Aborted)
	addAll(h.AbortedWith[:], o.AbortedWith[:])
	h.GRPC += o.GRPC
	addAll(h.GRPCStatus[:], o.GRPCStatus[:])
	theirs := o.histograms()
	for i, k := range h.histograms() {
		k.Merge(theirs[i])
	}
}

func (h *HTTP2) histograms() [5]*Histogram {
	return [...]*Histogram{&h.Requests, &h.MaxConcurrent, &h.DrainedAfter, &h.DrainedAge, &h.PingIntervals}
}
