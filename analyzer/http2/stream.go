package http2

import "github.com/keepscope/keepscope/analyzer/http"

// A stream is one that is open, or of which it is open whether its request's head was lost.
type stream struct {
	id    uint32
	flags streamFlags
}

type streamFlags uint8

const (
	clientEnded streamFlags = 1 << http.Client
	serverEnded streamFlags = 1 << http.Server
	responded   streamFlags = 1 << iota // its final response has begun
	guessed                             // something came that may have been its final response, or an interim one
	wasReset
	unasked  // something came on it, and no later request yet says whether its head was lost
	headLost // its request's head was lost, and that was told
	heard    // the server sent something on it
)

func (s *stream) over() bool {
	const ended = clientEnded | serverEnded
	return s.flags&wasReset != 0 || s.flags&ended == ended
}

// isDone reports whether nothing of the stream need be remembered.
func (s *stream) isDone() bool { return s.over() && s.flags&(unasked|headLost) == 0 }

// A span is the ids between the last request before a loss of the client's bytes and the
// first one after it, both not included.
type span struct{ low, high uint32 }

// find returns the index of the first stream whose id is not below id, and whether it has it.
func (c *Conn) find(id uint32) (i int, found bool) {
	low, high := 0, len(c.streams)
	if high > 0 && c.streams[high-1].id < id {
		return high, false
	}
	for low < high {
		mid := int(uint(low+high) / 2)
		if c.streams[mid].id < id {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, low < len(c.streams) && c.streams[low].id == id
}

// follow puts a stream into the list, at i, where find says that it belongs. At a cap the
// oldest goes; where there is none, or memory for none, it answers nil.
func (c *Conn) follow(i int, s stream, at int64) *stream {
	if len(c.streams) == cap(c.streams) {
		var ok bool
		if c.streams, ok = c.pool.growStreams(c.streams); !ok {
			c.pool.Stats.Streams++
			if i == 0 {
				c.blind = max(c.blind, s.id)
				return nil
			}
			oldest := c.streams[0].id
			c.blind = max(c.blind, oldest)
			c.unfollow(0)
			c.sink.Unanswered(http.Stream(oldest), at)
			i--
		}
	}
	c.streams = append(c.streams, stream{})
	copy(c.streams[i+1:], c.streams[i:])
	c.streams[i] = s
	if s.flags&unasked != 0 {
		c.unasked++
	}
	return &c.streams[i]
}

// unfollow drops a stream. An empty list of more than minStreams goes back to the Pool.
func (c *Conn) unfollow(i int) {
	if c.streams[i].flags&unasked != 0 {
		c.unasked--
	}
	c.streams = append(c.streams[:i], c.streams[i+1:]...)
	if len(c.streams) == 0 && cap(c.streams) > minStreams {
		c.pool.putStreams(c.streams)
		c.streams = nil
	}
}

// touch returns the stream on which something came that is evidence of a request: data, or
// what the server says. Where the request's head was not seen, it is followed from here. With
// no stream, told says whether what comes on it is told all the same.
func (c *Conn) touch(from http.Side, id uint32, at int64) (i int, s *stream, told bool) {
	var flags streamFlags
	if from == http.Server {
		flags = clientEnded // for all that is known
	}
	i, found := c.find(id)
	switch {
	case found:
		return i, &c.streams[i], true
	case id > c.last:
		// The client's bytes may still wait behind a hole that is not yet given up.
		s = c.follow(i, stream{id, flags | unasked}, at)
	case id <= c.blind:
		return i, nil, true
	case c.headLost(id):
		s = c.follow(i, stream{id, flags | headLost}, at)
		c.sink.Lost(http.Client, 1)
	default:
		return i, nil, false
	}
	i, _ = c.find(id)
	return i, s, true
}

// headLost reports whether the client's HEADERS of a stream that is not followed may
// have been lost: their place in the order of ids is.
func (c *Conn) headLost(id uint32) bool {
	for i := range c.spans {
		if c.spans[i].low < id && id < c.spans[i].high {
			return true
		}
	}
	return false
}

// open takes the client's HEADERS that open a stream. It reports whether that is followed.
func (c *Conn) open(id uint32, at int64) bool {
	if c.midstream && c.last == 0 {
		c.blind = max(c.blind, id-1)
	}
	if c.gapped {
		c.gapped = false
		if id-c.last > 2 {
			c.forget(c.spans[0].high)
			copy(c.spans[:], c.spans[1:])
			c.spans[len(c.spans)-1] = span{c.last, id}
		}
		c.resolve(id, true)
	} else {
		c.resolve(id, false)
	}
	c.last = id
	i, found := c.find(id)
	if found {
		s := &c.streams[i]
		if s.flags&unasked != 0 {
			c.unasked--
		}
		s.flags &^= unasked | clientEnded
		return true
	}
	return c.follow(i, stream{id: id}, at) != nil
}

// responds takes the beginning of what the server sends on a stream.
func (c *Conn) responds(s *stream, began int64) {
	if s != nil && s.flags&heard == 0 {
		s.flags |= heard
		c.sink.Responds(http.Stream(s.id), began)
	}
}

// resolve settles the streams below id on which something came although no request had: with
// lost their heads were lost, for the client has gone on. Otherwise they had none.
func (c *Conn) resolve(id uint32, lost bool) {
	if c.unasked == 0 {
		return
	}
	var requests uint32
	for i := 0; i < len(c.streams) && c.streams[i].id < id; {
		s := &c.streams[i]
		if s.flags&unasked != 0 {
			s.flags &^= unasked
			c.unasked--
			requests++
			if lost {
				s.flags |= headLost
			} else if s.isDone() {
				c.unfollow(i)
				continue
			}
		}
		i++
	}
	if lost && requests > 0 {
		c.sink.Lost(http.Client, requests)
	}
}

// forget drops the streams below id of which it was remembered only that their heads were lost.
func (c *Conn) forget(id uint32) {
	for i := 0; i < len(c.streams) && c.streams[i].id < id; {
		s := &c.streams[i]
		s.flags &^= headLost
		if s.isDone() {
			c.unfollow(i)
			continue
		}
		i++
	}
}

// end takes END_STREAM.
func (c *Conn) end(from http.Side, id uint32, at int64) {
	i, found := c.find(id)
	if !found {
		if id <= c.blind {
			c.sink.End(http.Stream(id), from, at)
		}
		return
	}
	s := &c.streams[i]
	flag := clientEnded << from
	if s.flags&(flag|wasReset) == 0 {
		s.flags |= flag
		c.sink.End(http.Stream(id), from, at)
	}
	if s.isDone() {
		c.unfollow(i)
	}
}

// reset takes RST_STREAM.
func (c *Conn) reset(from http.Side, id uint32, code http.Code, at int64) {
	i, found := c.find(id)
	if !found && from == http.Server {
		var s *stream
		i, s, _ = c.touch(from, id, at)
		found = s != nil
	}
	if !found {
		return
	}
	s := &c.streams[i]
	if !s.over() {
		s.flags |= wasReset
		c.sink.Reset(http.Stream(id), from, code, at)
	}
	if s.isDone() {
		c.unfollow(i)
	}
}
