package web

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keepscope/keepscope/exporter/report"
)

// A view is a report in the order and the words of the page.
type view struct {
	Style           template.CSS
	Script          template.JS
	Refresh         int
	Source          string
	Since           string
	For             string
	Totals          report.Summary
	Requests        uint64 // counted and estimated
	Reused          uint64
	Wasted          uint64
	WastedSeconds   float64
	Missed          []string
	Findings        []report.Finding
	MoreFindings    int
	Servers         []row
	MoreServers     int
	Causes, Lengths []bar
	Health          []fact
}

// A row is a server in the table.
type row struct {
	report.Server
	Requests, Reused, Wasted uint64 // counted and estimated
	WastedSeconds            float64
	Effectiveness            *float64
	Mean                     float64
	Estimated                bool
	Timeout                  string
}

// A bar is a count and its share of the largest.
type bar struct {
	Name  string
	N     uint64
	Share float64
	Note  string
}

// A fact is a figure about the capture; Bad ones make the others incomplete.
type fact struct {
	Name, Value string
	Bad         bool
}

func newView(r *report.Report) *view {
	v := &view{
		// Both are part of this program.
		Style: template.CSS(styleText), Script: template.JS(scriptText), Refresh: refreshSeconds,
		Source: strings.Join(slices.Concat(r.Capture.Interfaces, r.Capture.Files), ", "), Totals: r.Totals,
		Requests: r.Totals.Requests, Reused: r.Totals.ReusedRequests,
		Wasted: r.Totals.Wasted.Total, WastedSeconds: r.Totals.Wasted.Seconds,
	}
	if e := r.Totals.Estimated; e != nil {
		v.Requests += e.Requests
		v.Reused += e.ReusedRequests
		v.Wasted += e.Wasted.Total
		v.WastedSeconds += e.Wasted.Seconds
	}
	if c := &r.Capture; !c.FirstPacket.IsZero() {
		v.Since = c.FirstPacket.UTC().Format(time.DateTime) + " UTC"
		v.For = seconds(c.LastPacket.Sub(c.FirstPacket).Seconds())
	}
	v.Findings = report.UrgentFirst(r.Findings)[:min(len(r.Findings), maxFindings)]
	v.MoreFindings = len(r.Findings) - len(v.Findings)
	for i := range r.Servers[:min(len(r.Servers), maxServers)] {
		v.Servers = append(v.Servers, newRow(&r.Servers[i]))
	}
	v.MoreServers = len(r.Servers) - len(v.Servers)
	v.Causes = causes(&r.Totals)
	v.Lengths = lengths(&r.Totals)
	v.health(r)
	return v
}

func newRow(s *report.Server) row {
	out := row{
		Server: *s, Requests: s.Requests, Reused: s.ReusedRequests, Wasted: s.Wasted.Total,
		WastedSeconds: s.Wasted.Seconds, Effectiveness: s.Effectiveness, Mean: s.RequestsPerConn.Mean,
	}
	if e := s.Estimated; e != nil {
		out.Estimated = true
		out.Requests += e.Requests
		out.Reused += e.ReusedRequests
		out.Wasted += e.Wasted.Total
		out.WastedSeconds += e.Wasted.Seconds
		if out.Effectiveness == nil {
			out.Effectiveness, out.Mean = e.Effectiveness, e.RequestsPerConn.Mean
		}
	}
	switch t := s.Idle.ObservedTimeout; {
	case t.Server != nil:
		out.Timeout = "server " + seconds(*t.Server)
	case t.Client != nil:
		out.Timeout = "client " + seconds(*t.Client)
	}
	return out
}

// causes lists the causes of wasted handshakes, most first.
func causes(t *report.Summary) []bar {
	n, ns := maps.Clone(t.Wasted.ByCause), maps.Clone(t.Wasted.SecondsByCause)
	if t.Estimated != nil && n != nil && ns != nil {
		for cause, k := range t.Estimated.Wasted.ByCause {
			n[cause] += k
		}
		for cause, s := range t.Estimated.Wasted.SecondsByCause {
			ns[cause] += s
		}
	}
	var bars []bar
	for cause, k := range n {
		bars = append(bars, bar{Name: cause, N: k, Note: seconds(ns[cause])})
	}
	slices.SortFunc(bars, func(a, b bar) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	return shares(bars)
}

// lengths lists how many connections carried how many requests.
func lengths(t *report.Summary) []bar {
	h := t.RequestsPerConn.Histogram
	if e := t.Estimated; e != nil {
		o := e.RequestsPerConn.Histogram
		h.One, h.Few, h.Tens = h.One+o.One, h.Few+o.Few, h.Tens+o.Tens
		h.Hundreds, h.Thousands = h.Hundreds+o.Hundreds, h.Thousands+o.Thousands
	}
	return shares([]bar{
		{Name: "1", N: h.One}, {Name: "2–9", N: h.Few}, {Name: "10–99", N: h.Tens},
		{Name: "100–999", N: h.Hundreds}, {Name: "1000 and more", N: h.Thousands},
	})
}

func shares(bars []bar) []bar {
	var most uint64
	for _, b := range bars {
		most = max(most, b.N)
	}
	if most == 0 {
		return nil
	}
	for i := range bars {
		bars[i].Share = float64(bars[i].N) / float64(most)
	}
	return bars
}

// health tells what the capture got and what it missed.
func (v *view) health(r *report.Report) {
	c, t := &r.Capture, &r.Totals
	add := func(name string, n uint64, text string) {
		v.Health = append(v.Health, fact{name, text, n > 0})
		if n > 0 {
			v.Missed = append(v.Missed, text+" "+name)
		}
	}
	v.Health = append(v.Health,
		fact{"packets captured", count(c.Packets), false},
		fact{"captured", byteCount(c.Bytes), false})
	dropped := c.Dropped.Kernel + c.Dropped.Interface + c.Dropped.Queue
	add("packets dropped", dropped, count(dropped))
	add("missing from streams", c.Reassembly.MissingBytes, byteCount(c.Reassembly.MissingBytes))
	add("cut by the snaplen", c.Reassembly.TruncatedBytes, byteCount(c.Reassembly.TruncatedBytes))
	add("connections incomplete", t.Incomplete, count(t.Incomplete))
	add("connections joined midstream", t.Midstream, count(t.Midstream))
	add("connections evicted", c.Reassembly.EvictedConnections, count(c.Reassembly.EvictedConnections))
	var errs uint64
	for _, n := range c.DecodeErrors {
		errs += n
	}
	add("packets not decoded", errs, count(errs))
	v.Health = append(v.Health, fact{"segments out of order", count(c.Reassembly.OutOfOrderSegments), false})
}

// count writes a number with its digits in groups of three, by spaces that
// don't break.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// plural writes a number and what it counts.
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// percent writes a share; 0 and 100 % only where it is exactly that.
func percent(v *float64) string {
	switch {
	case v == nil:
		return "–"
	case *v == 0 || *v == 1:
		return fmt.Sprintf("%.0f\u00a0%%", *v*100)
	case *v > 0.999:
		return ">\u00a099.9\u00a0%"
	case *v < 0.001:
		return "<\u00a00.1\u00a0%"
	}
	return fmt.Sprintf("%.1f\u00a0%%", *v*100)
}

// seconds writes a time with a unit that fits it.
func seconds(s float64) string {
	number := func(v float64) string {
		decimals := 0
		switch {
		case v < 9.95:
			decimals = 1
		case v < 99.5 && v != float64(int(v)):
			decimals = 1
		}
		return strconv.FormatFloat(v, 'f', decimals, 64)
	}
	switch {
	case s <= 0:
		return "0\u00a0s"
	case s < 1e-3:
		return number(s*1e6) + "\u00a0µs"
	case s < 1:
		return number(s*1e3) + "\u00a0ms"
	case s < 100:
		return number(s) + "\u00a0s"
	case s < 6000:
		return number(s/60) + "\u00a0min"
	case s < 172800:
		return number(s/3600) + "\u00a0h"
	}
	return number(s/86400) + "\u00a0d"
}

// byteCount writes a number of bytes in decimal units.
func byteCount(n uint64) string {
	v := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if v < 1000 {
			return strconv.FormatFloat(v, 'g', 3, 64) + "\u00a0" + unit
		}
		v /= 1000
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + "\u00a0TB"
}

// width is the share of a bar of 100 units; anything above zero shows.
func width(share float64) string {
	if share <= 0 {
		return "0"
	}
	return strconv.FormatFloat(min(max(share*100, 0.8), 100), 'f', 1, 64)
}

// marked is a text with `settings` in backquotes as HTML.
func marked(text string) template.HTML {
	parts := strings.Split(template.HTMLEscapeString(text), "`")
	for i := 1; i < len(parts); i += 2 {
		parts[i] = "<code>" + parts[i] + "</code>"
	}
	return template.HTML(strings.Join(parts, ""))
}
