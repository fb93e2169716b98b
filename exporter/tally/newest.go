package tally

import (
	"cmp"
	"iter"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/sniffer"
)

const (
	// maxNewest is how many connections of a server are remembered one by one.
	maxNewest = 1024
	// maxRecords is how many those of all servers of a worker are.
	maxRecords = 65536
)

// A Record is what is remembered of a connection that has ended, for what its server's
// other connections, or its client's, tell of it.
type Record struct {
	ID, Could  uint64 // Could is what its wasted handshake could have reused
	Client     sniffer.Addr
	Start, End int64
	At         int64 // of the closing or the server's GOAWAY; End where that is not known
	Idle       int64 // last response to closing, or of an upgraded connection last payload; Absent if none
	Waited     int64 // see fact.Connection
	Cost       int64
	Advertised int64 // idle timeout, ns; 0 without
	Requests   uint32
	SYNs       uint8
	Software   software.ID // of the client
	Handshake  fact.Handshake
	ClosedBy   fact.ClosedBy
	Reason     fact.Reason
	Cause      fact.Cause // NoCause unless wasted
	Estimated  bool
	PassedOver bool // see fact.Connection
	Unheard    bool // see fact.Connection
	Raced      bool // and was told as a race
	Failed     bool // a request of it, but for refused streams
	Goaway     bool // it ended by a GOAWAY of the server without an error
}

func recordOf(c *fact.Connection) Record {
	r := Record{
		ID: c.ID, Client: c.Client.Addr, Start: c.Start, End: c.End, At: c.End, Idle: c.CloseIdle, Waited: c.Waited,
		Requests: c.Requests, SYNs: c.SYNs, Software: c.Software[0], Handshake: c.Handshake, ClosedBy: c.ClosedBy,
		Reason: c.Reason, Estimated: c.Estimated, Unheard: c.Unheard,
	}
	if c.ClosedAt > 0 {
		r.At = c.ClosedAt
	}
	if s := c.Streams; s != nil && s.Goaway[fact.ByServer].Seen && (c.Reason == fact.ReasonServerGoaway || c.Reason == fact.ReasonServerIdle) {
		r.Goaway, r.At = true, s.Goaway[fact.ByServer].First
	}
	if c.Upgrade != nil {
		r.Idle = max(r.At-c.Upgrade.Last, 0)
	}
	if c.Verdict == fact.VerdictWasted {
		r.Cause, r.Cost, r.PassedOver = c.Cause, Cost(c), c.PassedOver
		if c.CouldReuse != nil {
			r.Could = c.CouldReuse.ID
		}
	}
	if c.HasAdvertisedTimeout {
		r.Advertised = int64(c.AdvertisedTimeout) * second
	}
	for f, n := range c.Failed {
		r.Failed = r.Failed || n > 0 && fact.Failure(f) != fact.FailRefusedStream // which is safe to repeat
	}
	return r
}

func (k *Record) compare(o *Record) int {
	if k.At != o.At {
		return cmp.Compare(k.At, o.At)
	}
	return cmp.Compare(k.ID, o.ID)
}

// A Newest has the records of the newest connections.
type Newest struct{ ring[Record, *Record] }

// add remembers a record in place of the oldest, or beside the others where there is
// room; it says whether that was so, or else whether what is forgotten may be missed.
func (n *Newest) add(r *Record, room bool) (grown, missed bool) {
	oldest := r
	if len(n.list) > 0 {
		oldest = &n.list[n.first]
	}
	missed = oldest.Unheard || len(n.list) > 1 && oldest.mayBeOf(&n.list[(n.first+1)%len(n.list)])
	grown = n.ring.add(*r, room && len(n.list) < maxNewest)
	return grown, missed && !grown
}

// mayBeOf says whether a closing may be one of many at once, of which another is next.
func (k *Record) mayBeOf(next *Record) bool {
	return (k.canBeMass() && next.canBeMass() || k.Goaway && next.Goaway) && next.At-k.At <= massWithin
}

func (n *Newest) merge(o *Newest) {
	if len(n.list) == 0 {
		n.list, n.first = append(n.list, o.list...), o.first
		return
	}
	for r := range o.each {
		n.add(r, true)
	}
}

// raced says whether a connection is remembered, and was told as a race.
func (n *Newest) raced(id uint64) bool {
	return slices.ContainsFunc(n.list, func(k Record) bool { return k.ID == id && k.Raced })
}

// All goes through the records, the oldest closing first.
func (n *Newest) All() iter.Seq[*Record] { return n.each }

// Len returns how many there are.
func (n *Newest) Len() int { return len(n.list) }
