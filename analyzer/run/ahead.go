package run

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/sniffer"
)

const (
	flowBits   = 10
	flowSilent = int64(time.Minute) // without a segment, after which a connection is forgotten
)

// An ahead opens records of TLS in the Reader's goroutine before a worker comes to them. All
// connections of a client and a server are one worker's, and opening records is the most of
// what reading them takes. The Reader would wait meanwhile, and it has the records in its
// processor's cache. It knows of TCP only that one segment follows another. A connection
// that is out of step, or whose place another has, is the worker's alone: nothing that is
// found depends on what is opened here.
type ahead struct {
	opener *tls.Opener
	flows  [1 << flowBits]*flow
}

// A flow is a place for a connection that is followed.
type flow struct {
	ends   [2]sniffer.Endpoint // client and server; zero where the place is free
	next   [2]uint32           // sequence number of each side's next record
	heard  bool                // the server; before that its next is not known
	last   int64               // time of the newest segment
	record tls.Opening
}

func newAhead(keys *keylog.Store) *ahead { return &ahead{opener: tls.NewOpener(keys)} }

// free forgets the flow's connection.
func (f *flow) free() {
	f.record.Wipe()
	*f = flow{}
}

// end forgets all connections that have been silent since a packet time.
func (a *ahead) end(since int64) {
	for _, f := range a.flows {
		if f != nil && f.last <= since {
			f.free()
		}
	}
}

// open opens records of a load for a worker that has three quarters of the segments, while
// another load is in its queue. Where the work is parted the processors have enough to do.
func (a *ahead) open(l *load, queues []chan *load) {
	all := 0
	for _, s := range l.share {
		all += len(s)
	}
	l.most = slices.IndexFunc(l.share, func(s []sniffer.Segment) bool { return 4*len(s) > 3*all })
	for i := range l.share {
		if i == l.most {
			a.share(l.share[i], &l.opened, queues[i])
		} else {
			a.share(l.share[i], nil, nil)
		}
	}
}

// share takes a worker's segments, and opens records of it into an Opened, unless that is nil.
func (a *ahead) share(segments []sniffer.Segment, into *tls.Opened, queue chan *load) {
	for i := range segments {
		switch s := &segments[i]; s.Protocol {
		case sniffer.TCP:
			a.segment(s, into, len(queue) > 0)
		case sweep:
			a.end(s.Time - flowSilent)
		default: // nothing in DNS is encrypted
		}
	}
}

// segment takes a segment of any connection.
func (a *ahead) segment(s *sniffer.Segment, into *tls.Opened, useful bool) {
	over := s.Flags&(sniffer.FIN|sniffer.RST) != 0
	if len(s.Payload) == 0 && !over {
		return
	}
	f := a.flow(s, into != nil)
	if f == nil {
		return
	}
	from := http.Client
	switch ends := [2]sniffer.Endpoint{s.Src, s.Dst}; {
	case ends == f.ends:
	case ends == [2]sniffer.Endpoint{f.ends[1], f.ends[0]}:
		from = http.Server
		if !f.heard {
			f.heard, f.next[from] = true, s.Seq
		}
	default: // another connection's
		return
	}
	f.last = s.Time
	skip := int32(f.next[from] - s.Seq)
	inStep := skip >= 0 // else bytes are missing
	if inStep && int(skip) < len(s.Payload) {
		var n int
		n, inStep = a.opener.Records(&f.record, from, s.Payload[skip:], into, useful)
		f.next[from] += uint32(n)
	}
	if !inStep || over {
		f.free()
	}
}

// flow returns the place of a segment's connection, which may be another's; nil where none is
// there. A ClientHello begins one if it may and the place is free, or its own.
func (a *ahead) flow(s *sniffer.Segment, begins bool) *flow {
	src, dst := binary.LittleEndian.Uint64(s.Src.Addr[8:]), binary.LittleEndian.Uint64(s.Dst.Addr[8:])
	hash := (src + dst + uint64(s.Src.Port) + uint64(s.Dst.Port)) * 0x9e3779b97f4a7c15
	place := &a.flows[hash>>(64-flowBits)]
	if !begins || !tls.IsClientHello(s.Payload) {
		return *place
	}
	if *place == nil {
		*place = &flow{}
	}
	f, ends := *place, [2]sniffer.Endpoint{s.Src, s.Dst}
	if f.ends == ends || f.ends == [2]sniffer.Endpoint{} {
		f.free()
		if f.record.Begin(s.Payload) {
			f.ends, f.next[http.Client] = ends, s.Seq
		}
	}
	return f
}
