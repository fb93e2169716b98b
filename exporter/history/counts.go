package history

import (
	"cmp"
	"slices"

	"github.com/keepscope/keepscope/exporter/report"
)

// Counts are the figures of a server that add up over time.
type Counts struct {
	Connections, Used uint64 // opened; of them those that carried a request
	Requests, Reused  uint64
	Failed            uint64 // requests
	Wasted            uint64 // handshakes
	Probed            uint64 // of Wasted, those of health checks
	Seconds           float64
	Causes            []Cause // of Wasted, by name
}

// A Cause is how many handshakes it wasted.
type Cause struct {
	Name string
	N    uint64
}

// Each calls f with the counters of all servers of a report, and with those of all
// together.
func Each(r *report.Report, f func(Key, Counts)) {
	for _, p := range r.Totals.Parts() {
		f(Key{Estimated: p.IsEstimated}, Of(&p))
	}
	for i := range r.Servers {
		s := &r.Servers[i]
		for _, p := range s.Parts() {
			f(Key{s.Name, p.IsEstimated}, Of(&p))
		}
	}
}

// Of returns the counters of a part of a server's figures.
func Of(p *report.Part) Counts {
	c := Counts{
		Connections: p.Connections, Used: p.Used, Requests: p.Requests, Reused: p.ReusedRequests,
		Wasted: p.Wasted.Total, Probed: p.Wasted.Probed, Seconds: p.Wasted.Seconds,
	}
	for _, n := range p.FailedRequests {
		c.Failed += n
	}
	if len(p.Wasted.ByCause) > 0 {
		c.Causes = make([]Cause, 0, len(p.Wasted.ByCause))
		for name, n := range p.Wasted.ByCause {
			c.Causes = append(c.Causes, Cause{name, n})
		}
		slices.SortFunc(c.Causes, func(a, b Cause) int { return cmp.Compare(a.Name, b.Name) })
	}
	return c
}

// Effectiveness is that of the report, nil where it has no value.
func (c *Counts) Effectiveness() *float64 {
	judged := c.Reused + c.Wasted - min(c.Probed, c.Wasted)
	if judged == 0 {
		return nil
	}
	v := float64(c.Reused) / float64(judged)
	return &v
}

// TopCause names what wasted most handshakes, "" without any.
func (c *Counts) TopCause() (top string) {
	var most uint64
	for _, k := range c.Causes {
		if k.N > most {
			top, most = k.Name, k.N
		}
	}
	return top
}

// above says whether a count is larger than that of later counters, which then do not
// go on from these. Connections may be told to be of the counted ones once one is.
func (c *Counts) above(later *Counts) bool {
	return c.Used > later.Used || c.Requests > later.Requests || c.Reused > later.Reused || c.Wasted > later.Wasted
}

func (c *Counts) equal(o *Counts) bool {
	return c.Connections == o.Connections && c.Used == o.Used && c.Requests == o.Requests && c.Reused == o.Reused &&
		c.Failed == o.Failed && c.Wasted == o.Wasted && c.Probed == o.Probed && c.Seconds == o.Seconds && slices.Equal(c.Causes, o.Causes)
}

// minus returns what was counted after base.
func (c *Counts) minus(base *Counts) Counts {
	d := Counts{
		Connections: c.Connections - min(base.Connections, c.Connections), Used: c.Used - base.Used,
		Requests: c.Requests - base.Requests, Reused: c.Reused - base.Reused,
		Failed: c.Failed - min(base.Failed, c.Failed),
		Wasted: c.Wasted - base.Wasted, Probed: c.Probed - min(base.Probed, c.Probed), Seconds: max(c.Seconds-base.Seconds, 0),
	}
	before := map[string]uint64{}
	for _, k := range base.Causes {
		before[k.Name] = k.N
	}
	for _, k := range c.Causes {
		if n := k.N - min(before[k.Name], k.N); n > 0 {
			d.Causes = append(d.Causes, Cause{k.Name, n})
		}
	}
	return d
}

// Add adds those of another server.
func (c *Counts) Add(o *Counts) {
	c.Connections += o.Connections
	c.Used += o.Used
	c.Requests += o.Requests
	c.Reused += o.Reused
	c.Failed += o.Failed
	c.Wasted += o.Wasted
	c.Probed += o.Probed
	c.Seconds += o.Seconds
	for _, k := range o.Causes {
		at, known := slices.BinarySearchFunc(c.Causes, k.Name, func(c Cause, name string) int { return cmp.Compare(c.Name, name) })
		if !known {
			c.Causes = slices.Insert(slices.Clone(c.Causes), at, k)
			continue
		}
		c.Causes[at].N += k.N
	}
}
