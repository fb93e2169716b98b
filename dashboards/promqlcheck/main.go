// Command promqlcheck reads a JSON list of PromQL expressions from standard
// input and writes, for each in order, what its parser makes of it: the tests of
// package dashboards hold that against what the exporter declares.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// A result is what one expression uses.
type result struct {
	Error     string     `json:"error,omitempty"`
	Type      string     `json:"type,omitempty"`
	Selectors []selector `json:"selectors,omitempty"`
	Labels    []string   `json:"labels,omitempty"` // of by, without, on, ignoring and group_left
	Made      []string   `json:"made,omitempty"`   // by label_replace
}

// A selector is a metric and the labels that are matched.
type selector struct {
	Metric string   `json:"metric"`
	Labels []string `json:"labels,omitempty"`
	Range  bool     `json:"range,omitempty"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "promqlcheck:", err)
		os.Exit(1)
	}
}

func run() error {
	var exprs []string
	if err := json.NewDecoder(os.Stdin).Decode(&exprs); err != nil {
		return fmt.Errorf("reading expressions: %w", err)
	}
	results := make([]result, len(exprs))
	p := parser.NewParser(parser.Options{})
	for i, e := range exprs {
		results[i] = check(p, e)
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func check(p parser.Parser, text string) result {
	expr, err := p.ParseExpr(text)
	if err != nil {
		return result{Error: err.Error()}
	}
	r := result{Type: string(expr.Type())}
	ranged := map[*parser.VectorSelector]bool{}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.MatrixSelector:
			if v, ok := n.VectorSelector.(*parser.VectorSelector); ok {
				ranged[v] = true
			}
		case *parser.VectorSelector:
			s := selector{Metric: n.Name, Range: ranged[n]}
			for _, m := range n.LabelMatchers {
				if m.Name != model.MetricNameLabel {
					s.Labels = append(s.Labels, m.Name)
				}
			}
			r.Selectors = append(r.Selectors, s)
		case *parser.AggregateExpr:
			r.Labels = append(r.Labels, n.Grouping...)
		case *parser.Call:
			if to, ok := madeLabel(n); ok {
				r.Made = append(r.Made, to)
			}
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				r.Labels = append(append(r.Labels, n.VectorMatching.MatchingLabels...), n.VectorMatching.Include...)
			}
		}
		return nil
	})
	return r
}

// madeLabel returns the label that a call of label_replace makes.
func madeLabel(call *parser.Call) (string, bool) {
	if call.Func.Name != "label_replace" {
		return "", false
	}
	to, ok := call.Args[1].(*parser.StringLiteral)
	if !ok {
		return "", false
	}
	return to.Val, true
}
