// Package dashboardstest asks a Prometheus what Grafana would ask it to draw
// dashboards, so that tests can tell which panels would stay empty and what
// the others would show.
package dashboardstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// A Session is a person who looks at dashboards.
type Session struct {
	URL    string       // of the Prometheus, as http://127.0.0.1:9090
	Client *http.Client // nil: http.DefaultClient

	End            time.Time     // end of the time range shown
	Range          time.Duration // its length
	ScrapeInterval time.Duration // as set in Grafana's data source

	// Variables are what is chosen, by name. The others are All where a variable
	// has that, else its first value.
	Variables map[string]string
}

// A Series is one answer to a query.
type Series struct {
	Labels     map[string]string
	Values     []float64 // of floats; NaN is left out
	Histograms int       // how many samples are native histograms
}

// Last returns the newest value, NaN if there is none.
func (s Series) Last() float64 {
	if len(s.Values) == 0 {
		return math.NaN()
	}
	return s.Values[len(s.Values)-1]
}

// A Result is one query of one panel and its answer.
type Result struct {
	Dashboard, Panel, RefID string
	Expr                    string // as it was asked
	Series                  []Series
}

// Empty tells whether the panel would say that it has no data.
func (r Result) Empty() bool {
	for _, s := range r.Series {
		if len(s.Values) > 0 || s.Histograms > 0 {
			return false
		}
	}
	return true
}

// String names the query.
func (r Result) String() string { return r.Dashboard + " / " + r.Panel + " / " + r.RefID }

// Look asks every query of every panel of a dashboard. An error is
// a Prometheus that does not answer, or that refuses a query.
func (s *Session) Look(ctx context.Context, d dashboard.Dashboard) ([]Result, error) {
	chosen, err := s.choose(ctx, d)
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, p := range panels(d) {
		s.intervals(chosen, &p)
		for _, target := range p.Targets {
			q, ok := target.(prometheus.Dataquery)
			if !ok {
				return nil, fmt.Errorf("panel %q asks something else than Prometheus: %T", *p.Title, target)
			}
			r := Result{Dashboard: *d.Title, Panel: *p.Title, RefID: *q.RefId, Expr: expand(q.Expr, chosen)}
			if r.Series, err = s.query(ctx, r.Expr, q.Instant != nil && *q.Instant, s.step(&p)); err != nil {
				return nil, fmt.Errorf("%v: %w", r, err)
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// panels returns all panels, those of closed rows included.
func panels(d dashboard.Dashboard) (all []dashboard.Panel) {
	for _, p := range d.Panels {
		if p.Panel != nil {
			all = append(all, *p.Panel)
		} else {
			all = append(all, p.RowPanel.Panels...)
		}
	}
	return all
}

var variable = regexp.MustCompile(`\$\{?(\w+)\}?`)

// expand puts in the values of variables.
func expand(expr string, values map[string]string) string {
	return variable.ReplaceAllStringFunc(expr, func(use string) string {
		if v, ok := values[strings.Trim(use, "${}")]; ok {
			return v
		}
		return use
	})
}

// step is the distance of two points of a panel: as many points as it takes, and
// none closer than scrapes.
func (s *Session) step(p *dashboard.Panel) time.Duration {
	points := 1000.0 // about as many as a panel is wide
	if p.MaxDataPoints != nil {
		points = *p.MaxDataPoints
	}
	return max(s.ScrapeInterval, time.Duration(float64(s.Range)/points).Round(time.Second))
}

// intervals gives Grafana's variables of time their values for a panel.
func (s *Session) intervals(chosen map[string]string, p *dashboard.Panel) {
	step := s.step(p)
	chosen["__interval"] = promDuration(step)
	chosen["__rate_interval"] = promDuration(max(step+s.ScrapeInterval, 4*s.ScrapeInterval))
}

// choose gives every variable of the dashboard a value, in order, as those that
// come later depend on those before.
func (s *Session) choose(ctx context.Context, d dashboard.Dashboard) (map[string]string, error) {
	chosen := map[string]string{
		"__range": promDuration(s.Range),
	}
	for _, v := range d.Templating.List {
		if set, ok := s.Variables[v.Name]; ok {
			chosen[v.Name] = escape(set, v)
			continue
		}
		switch {
		case v.Type != dashboard.VariableTypeQuery:
			continue
		case v.AllValue != nil:
			chosen[v.Name] = *v.AllValue
			continue
		}
		values, err := s.labelValues(ctx, expand(*v.Definition, chosen))
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		if len(values) == 0 {
			return nil, fmt.Errorf("variable %s has no value: %s", v.Name, expand(*v.Definition, chosen))
		}
		chosen[v.Name] = escape(values[0], v)
	}
	return chosen, nil
}

// escape does what Grafana does to values in PromQL strings: a variable that can
// have several is used in a regular expression.
func escape(value string, v dashboard.VariableModel) string {
	if v.Multi != nil && *v.Multi {
		value = regexp.QuoteMeta(value)
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value)
}

func promDuration(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

var labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)

// labelValues answers Grafana's function of that name.
func (s *Session) labelValues(ctx context.Context, definition string) ([]string, error) {
	m := labelValues.FindStringSubmatch(definition)
	if m == nil {
		return nil, fmt.Errorf("not a label_values: %s", definition)
	}
	var series []map[string]string
	err := s.get(ctx, "/api/v1/series", url.Values{
		"match[]": {m[1]}, "start": {unix(s.End.Add(-s.Range))}, "end": {unix(s.End)},
	}, &series)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, labels := range series {
		if v := labels[m[2]]; v != "" {
			found[v] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func unix(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// Ask asks a query of one's own at a moment.
func (s *Session) Ask(ctx context.Context, expr string, at time.Time) ([]Series, error) {
	then := *s
	then.End = at
	return then.query(ctx, expr, true, s.ScrapeInterval)
}

// query asks one query.
func (s *Session) query(ctx context.Context, expr string, instant bool, step time.Duration) ([]Series, error) {
	path, params := "/api/v1/query_range", url.Values{
		"query": {expr}, "start": {unix(s.End.Add(-s.Range))}, "end": {unix(s.End)}, "step": {promDuration(step)},
	}
	if instant {
		path, params = "/api/v1/query", url.Values{"query": {expr}, "time": {unix(s.End)}}
	}
	var data struct {
		Result []struct {
			Metric     map[string]string
			Value      sample
			Values     []sample
			Histogram  json.RawMessage
			Histograms []json.RawMessage
		}
	}
	if err := s.get(ctx, path, params, &data); err != nil {
		return nil, err
	}
	var all []Series
	for _, r := range data.Result {
		one := Series{Labels: r.Metric, Histograms: len(r.Histograms)}
		if r.Histogram != nil {
			one.Histograms++
		}
		for _, v := range append(r.Values, r.Value) {
			if v.set && !math.IsNaN(v.value) {
				one.Values = append(one.Values, v.value)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// A sample is [time, "value"].
type sample struct {
	value float64
	set   bool
}

// UnmarshalJSON reads the pair.
func (s *sample) UnmarshalJSON(raw []byte) error {
	var pair [2]any
	if err := json.Unmarshal(raw, &pair); err != nil {
		return err
	}
	text, ok := pair[1].(string)
	if !ok {
		return fmt.Errorf("a sample's value is %T", pair[1])
	}
	value, err := strconv.ParseFloat(text, 64)
	s.value, s.set = value, true
	return err
}

// maxAnswer is how much of an answer is read: more is no dashboard's.
const maxAnswer = 64 << 20

// get decodes the data of an answer of Prometheus' API.
func (s *Session) get(ctx context.Context, path string, params url.Values, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path+"?"+params.Encode(), nil)
	if err != nil {
		return err
	}
	client := s.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", params.Get("query"), answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}
