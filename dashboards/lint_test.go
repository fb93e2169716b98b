package dashboards

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter"
)

// TestLint holds the dashboards against rules that only Grafana would enforce,
// by what it shows.
func TestLint(t *testing.T) {
	boards, err := Dashboards(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range boards {
		t.Run(*d.Uid, func(t *testing.T) {
			for _, problem := range slices.Concat(lintGrid(d), lintIDs(d), lintVariables(d)) {
				t.Error(problem)
			}
			for _, p := range panelsOf(d) {
				for _, problem := range slices.Concat(lintTexts(p), lintQueries(p, variablesOf(d))) {
					t.Errorf("panel %d %q: %s", *p.Id, *p.Title, problem)
				}
			}
		})
	}
}

// TestLintFinds proves that the linter sees what it looks for.
func TestLintFinds(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*dashboard.Dashboard)
		want  string
	}{
		{"overlap", func(d *dashboard.Dashboard) { d.Panels[2].Panel.GridPos.X-- }, "overlap"},
		{"too wide", func(d *dashboard.Dashboard) { d.Panels[1].Panel.GridPos.W = 25 }, "leaves the 24 columns"},
		{"same id", func(d *dashboard.Dashboard) { d.Panels[1].Panel.Id = d.Panels[2].Panel.Id }, "id 5 twice"},
		{"no id", func(d *dashboard.Dashboard) { d.Panels[1].Panel.Id = ref(uint32(0)) }, "no id"},
		{"no title", func(d *dashboard.Dashboard) { d.Panels[1].Panel.Title = ref("") }, "no title"},
		{"no description", func(d *dashboard.Dashboard) { d.Panels[1].Panel.Description = nil }, "no description"},
		{"no unit", func(d *dashboard.Dashboard) { d.Panels[1].Panel.FieldConfig.Defaults.Unit = nil }, "no unit"},
		{"unknown unit", func(d *dashboard.Dashboard) { d.Panels[1].Panel.FieldConfig.Defaults.Unit = ref("seconds") }, "unit"},
		{"fixed data source", func(d *dashboard.Dashboard) { d.Panels[1].Panel.Datasource.Uid = ref("abc") }, "data source"},
		{"variable lost", func(d *dashboard.Dashboard) { d.Templating.List = d.Templating.List[:2] }, "$job is no variable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Overview(Config{})
			if err != nil {
				t.Fatal(err)
			}
			own := *d.Panels[1].Panel.Datasource // shared by all panels
			d.Panels[1].Panel.Datasource = &own
			tt.spoil(&d)
			problems := slices.Concat(lintGrid(d), lintIDs(d), lintVariables(d))
			for _, p := range panelsOf(d) {
				problems = slices.Concat(problems, lintTexts(p), lintQueries(p, variablesOf(d)))
			}
			if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, tt.want) }) {
				t.Errorf("no problem says %q: %q", tt.want, problems)
			}
		})
	}
}

// lintGrid finds panels that overlap or leave the grid.
func lintGrid(d dashboard.Dashboard) (problems []string) {
	taken := map[[2]uint32]uint32{}
	occupy := func(g *dashboard.GridPos, id uint32) {
		if g == nil || g.W == 0 || g.H == 0 || g.X+g.W > columns {
			problems = append(problems, fmt.Sprintf("panel %d leaves the %d columns: %+v", id, columns, g))
			return
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]uint32{x, y}]; ok {
					problems = append(problems, fmt.Sprintf("panels %d and %d overlap at %d,%d", other, id, x, y))
					return
				}
				taken[[2]uint32{x, y}] = id
			}
		}
	}
	for _, p := range d.Panels {
		if p.Panel != nil {
			occupy(p.Panel.GridPos, *p.Panel.Id)
			continue
		}
		occupy(p.RowPanel.GridPos, p.RowPanel.Id)
	}
	for _, p := range d.Panels { // an opened row pushes what is below it down
		if p.RowPanel != nil && p.RowPanel.Collapsed {
			taken = map[[2]uint32]uint32{}
			for _, hidden := range p.RowPanel.Panels {
				occupy(hidden.GridPos, *hidden.Id)
			}
		}
	}
	return problems
}

// lintIDs finds missing ids and those that two panels have.
func lintIDs(d dashboard.Dashboard) (problems []string) {
	seen := map[uint32]bool{}
	note := func(id uint32, title *string) {
		switch {
		case id == 0:
			problems = append(problems, fmt.Sprintf("%q has no id", *title))
		case seen[id]:
			problems = append(problems, fmt.Sprintf("id %d twice", id))
		}
		seen[id] = true
	}
	for _, p := range d.Panels {
		if p.RowPanel != nil {
			note(p.RowPanel.Id, p.RowPanel.Title)
		}
	}
	for _, p := range panelsOf(d) {
		note(*p.Id, p.Title)
	}
	if uid := *d.Uid; len(uid) < 8 || len(uid) > 40 {
		problems = append(problems, "uid "+uid+" is not 8 to 40 long")
	}
	return problems
}

// lintVariables finds variables that would not work without Kubernetes, or that
// name a data source.
func lintVariables(d dashboard.Dashboard) (problems []string) {
	for i, v := range d.Templating.List {
		if v.Type == dashboard.VariableTypeDatasource {
			if i != 0 || v.Name != "datasource" {
				problems = append(problems, "the data source is not the first variable")
			}
			continue
		}
		if v.Datasource == nil || *v.Datasource.Uid != "${datasource}" {
			problems = append(problems, v.Name+" does not use the data source variable")
		}
		if v.Refresh == nil || *v.Refresh != dashboard.VariableRefreshOnTimeRangeChanged {
			problems = append(problems, v.Name+" is not read anew for another time range")
		}
		multi := v.Multi != nil && *v.Multi
		if multi && (v.AllValue == nil || *v.AllValue != ".*") {
			problems = append(problems, v.Name+"'s All does not select series without the label")
		}
	}
	return problems
}

// units are Grafana's ids that the dashboards may use; of Grafana's own
// prefixes for custom units, two are.
var (
	units      = []string{"percentunit", "s", "short", "reqps", "pps", "bytes", "binBps", "bps"}
	customUnit = regexp.MustCompile(`^(suffix|count):\S[^:]*$`)
)

// lintTexts finds panels that leave something unsaid.
func lintTexts(p dashboard.Panel) (problems []string) {
	need := func(what string, s *string) {
		if s == nil || strings.TrimSpace(*s) == "" {
			problems = append(problems, "no "+what)
		}
	}
	need("title", p.Title)
	need("description", p.Description)
	if p.Description != nil && !strings.Contains(*p.Description, "Good: ") {
		problems = append(problems, "the description does not say what is good")
	}
	defaults := p.FieldConfig.Defaults
	need("unit", defaults.Unit)
	need("text for no data", defaults.NoValue)
	if u := defaults.Unit; u != nil && !slices.Contains(units, *u) && !customUnit.MatchString(*u) {
		problems = append(problems, "Grafana has no unit "+*u)
	}
	if p.Datasource == nil || *p.Datasource.Uid != "${datasource}" || *p.Datasource.Type != "prometheus" {
		problems = append(problems, "the data source is not the variable")
	}
	return problems
}

var (
	windowed  = regexp.MustCompile(`\[([^\]]*)\]`)
	variables = regexp.MustCompile(`\$\{?([a-z_]\w*)`)
	windows   = []string{rateInterval, wholeRange, wholeRange + ":$__interval", remembered}
)

// lintQueries finds queries without legend or rate interval, and variables that
// the dashboard does not have.
func lintQueries(p dashboard.Panel, names []string) (problems []string) {
	if len(p.Targets) == 0 {
		return []string{"no query"}
	}
	names = append(slices.Clone(names), "__rate_interval", "__range", "__interval")
	ids := map[string]bool{}
	for _, q := range (shownPanel{Panel: p}).queries() {
		if q.LegendFormat == nil || *q.LegendFormat == "" {
			problems = append(problems, "query "+*q.RefId+" has no legend")
		}
		if ids[*q.RefId] {
			problems = append(problems, "query "+*q.RefId+" twice")
		}
		ids[*q.RefId] = true
		if q.Interval != nil || p.Interval != nil {
			problems = append(problems, "query "+*q.RefId+" has a minimum interval: $__rate_interval would be four times as long")
		}
		if *q.Datasource.Uid != "${datasource}" {
			problems = append(problems, "query "+*q.RefId+" does not use the data source variable")
		}
		for _, w := range windowed.FindAllStringSubmatch(q.Expr, -1) {
			if !slices.Contains(windows, w[1]) {
				problems = append(problems, "query "+*q.RefId+" has the window "+w[1])
			}
		}
		for _, v := range variables.FindAllStringSubmatch(q.Expr, -1) {
			if !slices.Contains(names, v[1]) {
				problems = append(problems, "$"+v[1]+" is no variable")
			}
		}
	}
	return problems
}

// TestSameTitles finds panels of one dashboard that can't be told apart.
func TestSameTitles(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range allPanels(t) {
		key := p.board + p.title
		if seen[key] {
			t.Errorf("%s has two panels %q", p.board, p.title)
		}
		seen[key] = true
	}
}

// TestNoLiteralNames holds that metric names come from exporter alone.
func TestNoLiteralNames(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool { return noMetricName(t, n) })
	}
}

// noMetricName fails the test at a literal that holds a metric's name.
func noMetricName(t *testing.T, n ast.Node) bool {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return true
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range exporter.Metrics {
		if strings.Contains(s, m.Name) {
			t.Errorf("%s is written out in %s", m.Name, lit.Value)
		}
	}
	return true
}

// TestColors holds that every value of a closed set has a colour, and that the
// hues that rate and blame can be told apart by people who see fewer of them.
func TestColors(t *testing.T) {
	for _, s := range outcomes() {
		if s.color == "" {
			t.Errorf("%q has no colour", s.series)
		}
	}
	seen := map[string]string{}
	for name, color := range toneOf {
		if color == "" {
			t.Errorf("%q has no colour", name)
		}
		if other := seen[color]; other != "" {
			t.Errorf("%s and %s are both %s", name, other, color)
		}
		seen[color] = name
	}
	colors := []string{tone(fact.PoolMiss), tone(fact.ReasonServerIdle), green, crimson}
	for name, see := range colorBlindness {
		for i, a := range colors {
			for _, b := range colors[i+1:] {
				if d := distance(see(rgb(t, a)), see(rgb(t, b))); d < 0.08 {
					t.Errorf("%s: %s and %s are %.3f apart", name, a, b, d)
				}
			}
		}
	}
}

// colorBlindness are the transforms of linear RGB by Viénot, Brettel and Mollon
// (1999).
var colorBlindness = map[string]func([3]float64) [3]float64{
	"full colour": func(c [3]float64) [3]float64 { return c },
	"protanopia": func(c [3]float64) [3]float64 {
		rg := 0.11238*c[0] + 0.88762*c[1]
		return [3]float64{rg, rg, 0.00401*c[0] - 0.00401*c[1] + c[2]}
	},
	"deuteranopia": func(c [3]float64) [3]float64 {
		rg := 0.29275*c[0] + 0.70725*c[1]
		return [3]float64{rg, rg, -0.02234*c[0] + 0.02234*c[1] + c[2]}
	},
}

func rgb(t *testing.T, hex string) (c [3]float64) {
	for i := range c {
		v, err := strconv.ParseUint(hex[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c[i] = math.Pow(float64(v)/255, 2.2)
	}
	return c
}

// distance is between perceived colours: the gamma of each channel is restored.
func distance(a, b [3]float64) float64 {
	sum := 0.0
	for i := range a {
		d := math.Pow(max(a[i], 0), 1/2.2) - math.Pow(max(b[i], 0), 1/2.2)
		sum += d * d
	}
	return math.Sqrt(sum)
}
