package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	table "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"

	"github.com/keepscope/keepscope/exporter/tally"
)

func TestMarkdown(t *testing.T) {
	for _, test := range []struct {
		name   string
		report *Report
		opts   TextOptions
		tables int
	}{
		{"busy", busyReport(), TextOptions{}, 2},
		{"busy-all", busyReport(), TextOptions{Findings: -1}, 2},
		{"mixed", mixedReport(false), TextOptions{}, 2},
		{"quiet", quietReport(), TextOptions{}, 1},
		{"empty", built(tally.New(tally.Config{}), Capture{Files: []string{"evil`|<b>\n# x.pcap"}, Filter: "tcp[0] | *x*"}), TextOptions{}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := test.report.WriteMarkdown(&b, test.opts); err != nil {
				t.Fatal(err)
			}
			golden(t, test.name+".md", b.Bytes())
			checkMarkdown(t, b.Bytes(), test.tables)
		})
	}
	t.Run("compare", func(t *testing.T) {
		var b bytes.Buffer
		if err := Compare(busyReport(), mixedReport(false)).WriteMarkdown(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, "compare.md", b.Bytes())
		checkMarkdown(t, b.Bytes(), 2)
	})
}

// checkMarkdown has a parser of CommonMark and GitHub's tables read a document: every
// line with bars is in a table, whose rows are as wide as its head, one heading is
// the title, and there is neither HTML nor a link.
func checkMarkdown(t *testing.T, source []byte, tables int) {
	t.Helper()
	seen, rows, titles := 0, 0, 0
	parser := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()
	err := ast.Walk(parser.Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *table.Table:
			seen++
			for row := n.FirstChild(); row != nil; row = row.NextSibling() {
				rows++
				if row.ChildCount() != len(n.Alignments) {
					t.Errorf("a row of %d cells in a table of %d", row.ChildCount(), len(n.Alignments))
				}
			}
		case *ast.Heading:
			if n.Level < 3 {
				titles++
			}
		case *ast.RawHTML, *ast.HTMLBlock, *ast.Link, *ast.AutoLink, *ast.Emphasis:
			if e, ok := n.(*ast.Emphasis); !ok || e.Level != 2 {
				t.Errorf("%v in it", n.Kind())
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count("\n"+string(source), "\n|"); seen != tables || rows != lines-tables || titles > 1 {
		t.Errorf("%d tables of %d rows and %d titles; want %d of %d\n%s", seen, rows, titles, tables, lines-tables, source)
	}
}
