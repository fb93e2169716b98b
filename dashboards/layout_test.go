package dashboards

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/keepscope/keepscope/analyzer/fact"
)

// What a window of 1366×768 pixels shows of a dashboard: the first screen is what
// is below Grafana's head and a line of variables.
const (
	windowWidth = 1366
	pageMargin  = 40 // left, right and the scroll bar
	gridUnit    = 38 // pixels of a row of the grid, with its gap
	firstScreen = 16 // rows of the grid
	firstRows   = 14 // of them, for the headline and the table
	tableFrame  = 20 // borders of a table's panel
	charWidth   = 7  // of a table's letters, on average
	cellPadding = 16
)

// TestFirstScreen holds that each dashboard's first two rows, which say which server,
// why and what to change, fit the first screen, without titled rows between.
func TestFirstScreen(t *testing.T) {
	boards, err := Dashboards(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range boards {
		t.Run(*d.Uid, func(t *testing.T) {
			shown, heads := uint32(0), uint32(0)
			tables := 0
			for _, p := range d.Panels {
				if p.RowPanel != nil || p.Panel.GridPos.Y >= firstRows {
					continue
				}
				shown++
				if end := p.Panel.GridPos.Y + p.Panel.GridPos.H; end > firstRows {
					t.Errorf("%q ends in line %d of the grid", *p.Panel.Title, end)
				}
				if p.Panel.GridPos.Y == 0 {
					heads += p.Panel.GridPos.W
				}
				if p.Panel.Type == "table" {
					tables++
				}
			}
			if heads != columns {
				t.Errorf("the first row is %d wide", heads)
			}
			if tables != 1 {
				t.Errorf("%d tables on the first screen of %d panels", tables, shown)
			}
			if variables := visible(d); variables > 6 {
				t.Errorf("%d variables take more than a line", variables)
			}
			for _, l := range d.Links {
				if !l.AsDropdown {
					t.Errorf("link %q is no menu", l.Title)
				}
			}
		})
	}
}

func visible(d dashboard.Dashboard) (n int) {
	for _, v := range d.Templating.List {
		if v.Hide == nil || *v.Hide == dashboard.VariableHideDontHide {
			n++
		}
	}
	return n
}

// TestTablesFit holds that no column of a table is off the screen, and that no
// head, and no word of what is said in columns, is cut.
func TestTablesFit(t *testing.T) {
	found := 0
	for _, p := range allPanels(t) {
		if p.Type != "table" {
			continue
		}
		found++
		for _, problem := range lintTable(p.Panel) {
			t.Errorf("%s, %q: %s", p.board, p.title, problem)
		}
	}
	if found < 4 {
		t.Errorf("only %d tables", found)
	}
}

// TestTablesFitFinds proves that the check sees what it looks for.
func TestTablesFitFinds(t *testing.T) {
	for want, wide := range map[string]int{"wider than its panel": 400, "head is cut": 30} {
		p, err := Config{}.withDefaults().worstServers().Build()
		if err != nil {
			t.Fatal(err)
		}
		p.GridPos = &dashboard.GridPos{W: columns}
		setWidth(&p, "Races", wide)
		if problems := lintTable(p); !slices.ContainsFunc(problems, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("width %d: no problem says %q: %q", wide, want, problems)
		}
	}
}

func setWidth(p *dashboard.Panel, column string, width int) {
	for _, o := range p.FieldConfig.Overrides {
		if named(o) != column {
			continue
		}
		for i := range o.Properties {
			if o.Properties[i].Id == "custom.width" {
				o.Properties[i].Value = width
			}
		}
	}
}

// named returns the field that an override is of.
func named(o dashboard.DashboardFieldConfigSourceOverrides) string {
	switch name := o.Matcher.Options.(type) {
	case string:
		return name
	case *string:
		return *name
	}
	return ""
}

func lintTable(p dashboard.Panel) (problems []string) {
	total := 0
	for _, o := range p.FieldConfig.Overrides {
		name, width := named(o), 0
		lines := 0
		for _, property := range o.Properties {
			switch property.Id {
			case "custom.width":
				width = property.Value.(int)
			case "mappings":
				for _, m := range property.Value.([]dashboard.ValueMapping) {
					for _, result := range m.ValueMap.Options {
						lines = max(lines, wrapped(*result.Text, width))
					}
				}
			}
		}
		if width == 0 {
			problems = append(problems, name+" has no width")
		}
		if len(name)*charWidth+cellPadding > width {
			problems = append(problems, name+": the head is cut")
		}
		if lines > 3 {
			problems = append(problems, fmt.Sprintf("%s takes %d lines", name, lines))
		}
		total += width
	}
	room := (windowWidth-pageMargin)*int(p.GridPos.W)/columns - tableFrame
	if total > min(room, 1300) {
		problems = append(problems, fmt.Sprintf("%d px are wider than its panel, %d", total, room))
	}
	return problems
}

// wrapped is how many lines a text takes.
func wrapped(text string, width int) int {
	lines, used := 1, 0
	for word := range strings.FieldsSeq(text) {
		need := (len(word) + 1) * charWidth
		if used > 0 && used+need > width-cellPadding {
			lines, used = lines+1, 0
		}
		used += need
	}
	return lines
}

// The backgrounds of panels, and what Grafana writes on coloured cells.
const (
	lightPanel = "#FFFFFF"
	darkPanel  = "#181B1F"
	onCells    = "#F7F8FA"
)

// TestContrast holds colours against WCAG 2.2 AA: 3 for large text and for what
// is drawn (1.4.3, 1.4.11), 4.5 for text.
func TestContrast(t *testing.T) {
	drawn := []string{green, crimson, violet, teal, slate, tone(fact.PoolMiss), tone(fact.ReasonServerIdle), tone(fact.ReasonPathDropped)}
	for _, c := range drawn {
		for _, behind := range []string{lightPanel, darkPanel} {
			if got := contrast(t, c, behind); got < 3 {
				t.Errorf("%s on %s: %.2f", c, behind, got)
			}
		}
	}
	cells := []string{cellBad}
	for _, c := range cellColors {
		cells = append(cells, c)
	}
	for _, c := range cells {
		if got := contrast(t, onCells, c); got < 4.5 {
			t.Errorf("text on a cell of %s: %.2f", c, got)
		}
	}
}

// contrast is WCAG's ratio of relative luminances.
func contrast(t *testing.T, a, b string) float64 {
	luminance := func(hex string) float64 {
		c := rgb(t, hex)
		return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2]
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestHabits holds that everything that there is to change has words, and that
// causes, failures and cells are coloured by whom package fact blames.
func TestHabits(t *testing.T) {
	for _, why := range whys() {
		h, ok := habits[why]
		if !ok || h.words == "" || h.change == "" {
			t.Errorf("%s has no words: %+v", why, h)
		}
		if cellColors[blamed(why)] == "" {
			t.Errorf("nobody's colour for %s", why)
		}
	}
	for why := range habits {
		if !slices.Contains(whys(), why) {
			t.Errorf("%s is no cause, failure or result", why)
		}
	}
}
