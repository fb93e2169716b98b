package web

import (
	"strings"

	"github.com/keepscope/keepscope/exporter/report"
)

// details are a table of them.
type details struct {
	Caption string
	Rows    []detail
}

// A detail is a figure about the capture, or about a server; Bad ones make others
// incomplete.
type detail struct {
	Name, Value string
	Bad         bool
}

// health tells what the capture got and what it missed.
func health(r *report.Report) []detail {
	c, t := &r.Capture, &r.Totals
	list := []detail{
		{"packets captured", count(c.Packets), false},
		{"captured", byteCount(c.Bytes), false},
	}
	missed := func(name string, n uint64, text func(uint64) string) {
		list = append(list, detail{name, text(n), n > 0})
	}
	missed("packets dropped", c.Dropped.Total(), count)
	missed("missing from streams", max(c.Reassembly.MissingBytes, t.MissingBytes), byteCount)
	missed("cut by the snaplen", max(c.Reassembly.TruncatedBytes, t.TruncatedBytes), byteCount)
	missed("connections incomplete", t.Incomplete, count)
	missed("connections joined midstream", t.Midstream, count)
	missed("connections evicted", max(c.Reassembly.EvictedConnections, t.Evicted), count)
	var errs uint64
	for _, n := range c.DecodeErrors {
		errs += n
	}
	missed("packets not decoded", errs, count)
	list = append(list, detail{"segments out of order", count(c.Reassembly.OutOfOrderSegments), false})
	for _, l := range r.Limits {
		list = append(list, detail{"beyond the cap on " + strings.ReplaceAll(l.Name, "_", " "), count(l.Count), false})
	}
	return list
}
