package screen

import (
	"fmt"
	"slices"

	"charm.land/lipgloss/v2"

	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/prose"
)

// A column is a figure of each server.
type column struct {
	title string
	name  string // in words
	width int
	// value is what is sorted by, most first; text is what is shown.
	value func(*serverRow) float64
	text  func(value float64) string
	steps *steps // what sparklines are of while it is sorted by this column; nil: the waste
	exact bool   // never an estimate
}

// Steps are what a sparkline is of.
type steps struct {
	title string
	of    func(*history.Counts) uint64
}

// none is shown where there is no value.
const none = "–"

var (
	wasted      = &steps{"WASTED", func(c *history.Counts) uint64 { return c.Wasted }}
	requests    = &steps{"REQUESTS", func(c *history.Counts) uint64 { return c.Requests }}
	connections = &steps{"HANDSH.", func(c *history.Counts) uint64 { return c.Connections }}
	failed      = &steps{"FAILED", func(c *history.Counts) uint64 { return c.Failed }}
)

var columns = []column{
	{"WASTED", "wasted handshakes", 8, func(r *serverRow) float64 { return float64(r.Wasted) }, countText, wasted, false},
	{"WASTED/S", "wasted handshakes a second", 9, func(r *serverRow) float64 { return perSecond(r.Wasted, r.seconds) }, rateText, wasted, false},
	// The worst come first, and those without a value last.
	{"EFFECT.", "effectiveness, the worst first", 10, func(r *serverRow) float64 {
		if v := r.Effectiveness(); v != nil {
			return -*v
		}
		return -2
	}, func(v float64) string {
		if v < -1 {
			return none
		}
		return prose.Percent(-v)
	}, nil, false},
	{"REQ/CONN", "requests for each connection", 9, func(r *serverRow) float64 {
		if r.Used == 0 {
			return 0
		}
		return float64(r.Requests) / float64(r.Used)
	}, func(v float64) string {
		if v == 0 {
			return none
		}
		return fmt.Sprintf("%.1f", v)
	}, nil, false},
	{"REQUESTS", "requests", 10, func(r *serverRow) float64 { return float64(r.Requests) }, countText, requests, false},
	{"REQ/S", "requests a second", 8, func(r *serverRow) float64 { return perSecond(r.Requests, r.seconds) }, rateText, requests, false},
	{"HANDSH.", "connections opened", 9, func(r *serverRow) float64 { return float64(r.Connections) }, countText, connections, true},
	{"OPEN", "open connections", 7, func(r *serverRow) float64 { return float64(r.open) }, countText, nil, true},
	{"COST", "time lost to wasted handshakes", 10, func(r *serverRow) float64 { return r.Seconds }, prose.Seconds, nil, false},
	{"FAILED", "failed requests", 8, func(r *serverRow) float64 { return float64(r.Failed) }, countText, failed, false},
}

// figure is what a row shows in a column.
func (c *column) figure(r *serverRow) string {
	text := c.text(c.value(r))
	if c.exact || text == none {
		return text
	}
	return r.mark() + text
}

// style colours an effectiveness.
func (c *column) style(r *serverRow) lipgloss.Style {
	if v := r.Effectiveness(); c.title == "EFFECT." && v != nil {
		return grade(*v)
	}
	return plain
}

func perSecond(n uint64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

func countText(v float64) string {
	if v >= 1e7 {
		return fmt.Sprintf("%.1fM", v/1e6)
	}
	return fmt.Sprintf("%.0f", v)
}

func rateText(v float64) string {
	switch {
	case v == 0 || v >= 9.95:
		return countText(v)
	case v < 0.05:
		return "<0.1"
	}
	return fmt.Sprintf("%.1f", v)
}

// spark draws how much was counted in each step, the most of them as a full block.
func spark(steps [history.Points]uint64) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	most := slices.Max(steps[:])
	out := make([]rune, 0, len(steps))
	for _, n := range steps {
		if n == 0 {
			out = append(out, ' ')
			continue
		}
		out = append(out, levels[(n*uint64(len(levels))-1)/most])
	}
	return string(out)
}
