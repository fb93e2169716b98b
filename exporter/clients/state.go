package clients

import (
	"bytes"
	"encoding/gob"
	"errors"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/software"
)

// A state is a table as bytes.
type state struct {
	Untold uint64
	List   []saved
}

type saved struct {
	*Client
	Several  bool
	Closings []int64 // requests and number by turns
	Spans    []savedSpan
}

type savedSpan struct {
	Start, End int64
	Reused     bool
}

// GobEncode writes the clients in the order of their ranks.
func (t *Table) GobEncode() ([]byte, error) {
	out := state{Untold: t.Untold}
	list := slices.Clone(t.list)
	slices.SortFunc(list, (*Client).compare)
	for _, c := range list {
		s := saved{Client: c, Several: c.several}
		for _, k := range c.closings {
			s.Closings = append(s.Closings, int64(k.requests), int64(k.n))
		}
		for _, x := range c.spans {
			s.Spans = append(s.Spans, savedSpan{x.start, x.end, x.reused})
		}
		out.List = append(out.List, s)
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(&out)
	return b.Bytes(), err
}

var errState = errors.New("a table of clients is damaged")

// GobDecode reads what GobEncode wrote.
func (t *Table) GobDecode(b []byte) error {
	var in state
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&in); err != nil {
		return err
	}
	*t = Table{Untold: in.Untold}
	for _, s := range in.List {
		c := s.Client
		if c == nil || len(t.list) == Max || c.Software >= software.NumIDs ||
			slices.ContainsFunc(c.Wasted, func(w Waste) bool { return w.Cause >= fact.NumCauses }) {
			return errState
		}
		c.rank, c.several = rank(c.Addr, c.Estimated), s.Several
		for i := 0; i+1 < len(s.Closings); i += 2 {
			c.closing(count{uint32(s.Closings[i]), uint64(s.Closings[i+1])})
		}
		for _, x := range s.Spans {
			c.span(span{x.Start, x.End, x.Reused})
		}
		t.list = append(t.list, c)
	}
	return nil
}
