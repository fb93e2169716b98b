package main

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An answered is the rows of a query, in which an engine may write whole numbers as text.
type answered []map[string]any

func number(t *testing.T, v any) float64 {
	t.Helper()
	switch v := v.(type) {
	case nil:
		return 0
	case float64:
		return v
	case string:
		var f float64
		if err := json.Unmarshal([]byte(v), &f); err == nil {
			return f
		}
	}
	t.Fatalf("%v is no number", v)
	return 0
}

// sum adds up a column.
func (a answered) sum(t *testing.T, column string) (sum float64) {
	t.Helper()
	for _, row := range a {
		sum += number(t, row[column])
	}
	return sum
}

// by adds up a column by the words of another, without zeros.
func (a answered) by(t *testing.T, word, column string) map[string]float64 {
	t.Helper()
	sums := map[string]float64{}
	for _, row := range a {
		if n := number(t, row[column]); n != 0 {
			sums[row[word].(string)] += n
		}
	}
	return sums
}

// engines are those that the queries are for, and the library of each for node.
var engines = map[string]string{
	"duckdb":     "build/tools/node_modules/@duckdb/node-api",
	"clickhouse": "build/tools/clickhouse/node_modules/chdb",
}

// askEngine asks an engine the queries of deploy/sql about a Parquet file.
func askEngine(t *testing.T, engine, file string) (answers map[string]answered) {
	t.Helper()
	library, err := filepath.Abs("../../" + engines[engine])
	if err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if !exists(library) || err != nil {
		t.Skipf("it is not here: `make test-queries` brings %s, for node", engines[engine])
	}
	cmd := exec.CommandContext(t.Context(), node, "../../deploy/sql/ask.mjs", engine, library, file, "../../deploy/sql")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &answers); err != nil {
		t.Fatal(err)
	}
	return answers
}

// What an engine finds in the records is what the report says.
func TestQueries(t *testing.T) {
	captures := map[string]string{"demo": demoFile(t)}
	for _, name := range []string{"go_idle_timeout", "tls12_full_cost", "requests_many_names", "http10_declined", "busy_event_loop", "worker_recycling", "backend_refuses", "stale_reuse_many_names"} {
		if path := "../../../shared/cases/" + name + ".pcap.gz"; exists(path) {
			captures[name] = path
		}
	}
	for name, path := range captures {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "connections.parquet")
			printed(t, "read", "--output=parquet", "--save="+file, path)
			var r queried
			if err := json.Unmarshal(printed(t, "read", "--output=json", path), &r); err != nil {
				t.Fatal(err)
			}
			for engine := range engines {
				t.Run(engine, func(t *testing.T) {
					answers := askEngine(t, engine, file)
					if len(answers) != 10 {
						t.Errorf("%d answers", len(answers))
					}
					checkAnswers(t, answers, &r)
					checkAnswered(t, answers["01"], &r)
				})
			}
		})
	}
}

// A queried is what the queries ask of a report.
type queried struct {
	Totals struct {
		Connections float64
		Requests    float64
		Reused      float64 `json:"reused_requests"`
		Wasted      struct {
			Total          float64
			ByCause        map[string]float64 `json:"by_cause"`
			SecondsByCause map[string]float64 `json:"seconds_by_cause"`
		} `json:"wasted_handshakes"`
		Reasons    map[string]float64
		Negotiated map[string]float64
		Attempts   struct{ Refused, Unanswered float64 } `json:"handshake_attempts"`
		Handshakes struct {
			TCP     struct{ Count float64 } `json:"tcp"`
			Full    struct{ Count float64 } `json:"tls_full"`
			Resumed struct{ Count float64 } `json:"tls_resumed"`
		}
		Probes struct{ Connections float64 }
	}
	Servers []struct {
		Server        string
		Requests      float64
		Effectiveness *float64
		Wasted        struct{ Total float64 } `json:"wasted_handshakes"`
	}
}

func checkAnswers(t *testing.T, answers map[string]answered, r *queried) {
	t.Helper()
	total := &r.Totals
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"requests", answers["01"].sum(t, "requests"), total.Requests},
		{"reused", answers["01"].sum(t, "reused"), total.Reused},
		{"wasted", answers["01"].sum(t, "wasted"), total.Wasted.Total},
		{"causes", answers["02"].by(t, "cause", "handshakes"), nonzero(total.Wasted.ByCause)},
		{"seconds", rounded(answers["02"].by(t, "cause", "seconds")), rounded(total.Wasted.SecondsByCause)},
		{"reasons", answers["04"].by(t, "reason", "connections"), nonzero(total.Reasons)},
		{"server's idle closings", answers["05"].sum(t, "closings"), total.Reasons["server_idle"]},
		{"stale reuses", answers["06"].by(t, "reason", "connections")["stale_reuse"], total.Reasons["stale_reuse"]},
		{"requests by hour", answers["07"].sum(t, "requests"), total.Requests},
		{"TCP handshakes", answers["08"].sum(t, "tcp"), total.Handshakes.TCP.Count},
		{"full TLS handshakes", answers["08"].sum(t, "tls_full"), total.Handshakes.Full.Count},
		{"resumed ones", answers["08"].sum(t, "tls_resumed"), total.Handshakes.Resumed.Count},
		{"refused ones", answers["08"].sum(t, "refused"), total.Attempts.Refused},
		{"connections that could have been reused", float64(len(answers["09"])), min(total.Wasted.Total, 20)},
		{"keep-alive", answers["10"].sum(t, "keep_alive"), total.Negotiated["keep_alive"]},
		{"declined", answers["10"].sum(t, "http10_declined"), total.Negotiated["http10_declined"]},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-report +engine):\n%s", c.name, diff)
		}
	}
	for _, row := range answers["09"] {
		if row["other"] != nil && row["other_requests"] == nil {
			t.Errorf("the connection %v is not in the file", row["other"])
		}
	}
}

// checkAnswered compares the rows of servers whose connections carry one Host each.
func checkAnswered(t *testing.T, a answered, r *queried) {
	t.Helper()
	if r.Totals.Probes.Connections > 0 {
		return // they are left out of effectiveness
	}
	found := 0
	for _, s := range r.Servers {
		for _, row := range a {
			if row["server_label"] != s.Server || s.Effectiveness == nil || number(t, row["requests"]) != s.Requests {
				continue
			}
			found++
			if got := number(t, row["effectiveness"]); math.Abs(got-*s.Effectiveness) > 0.0001 || number(t, row["wasted"]) != s.Wasted.Total {
				t.Errorf("%s: effectiveness %v and %v, wasted %v and %v", s.Server, got, *s.Effectiveness, row["wasted"], s.Wasted.Total)
			}
		}
	}
	if found == 0 && r.Totals.Reused+r.Totals.Wasted.Total > 0 {
		t.Error("no server is in both")
	}
}

// rounded is a sum of seconds by cause without how floats were added, and without zeros.
func rounded(m map[string]float64) map[string]float64 {
	out := nonzero(m)
	for k, v := range out {
		out[k] = math.Round(v*1e9) / 1e9
	}
	return out
}

func nonzero(m map[string]float64) map[string]float64 {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(_ string, v float64) bool { return v == 0 })
	return out
}
