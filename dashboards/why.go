package dashboards

import (
	"fmt"
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

// labelWhy is what queries put in the place of cause, how and result, so that
// wasted handshakes, failed requests and failed handshakes can be compared. Its
// copy labelChange is shown as what to change.
const (
	labelWhy    = "why"
	labelChange = "change"
)

// Values of labelWhy that no metric has.
const (
	whyNone = "none"
	// whyCloses is a closing right after the response of a connection that was not
	// decrypted: whoever closed first, the other may have asked for it.
	whyCloses = "closes_after_response"
)

// A habit is a value of labelWhy in words.
type habit struct {
	words, change string
	blame         fact.Blame
}

// habits has every cause, every way in which requests fail, and every way in
// which handshakes do. The blame of a cause is what package fact says.
var habits = map[string]habit{
	whyNone:   {words: "nothing is wasted", change: "nothing"},
	whyCloses: {words: "closed right after the response", change: "Settings of both sides: one announces the closing, or ends it. With --keylog it is known which."},

	"pool_miss":            {words: "another was opened although one was free", change: "Client: one shared client and a pool as large as the requests at once; read bodies to their end"},
	"client_close":         {words: "the client asked for closing", change: "Client: no Connection: close (nginx: proxy_http_version 1.1 and an empty Connection header)"},
	"http10_not_requested": {words: "the client spoke HTTP/1.0 without keep-alive", change: "Client or proxy: speak HTTP/1.1"},
	"http10_declined":      {words: "keep-alive in HTTP/1.0 was declined", change: "Both: speak HTTP/1.1"},
	"no_length":            {words: "responses end with the connection", change: "Server: send Content-Length or chunked encoding"},
	"server_error_close":   {words: "the server closes after errors", change: "Server: keep the connection after error responses; mend the errors"},
	"server_limit":         {words: "the server's limit of requests", change: "Server: raise its limit of requests a connection (nginx: keepalive_requests)"},
	"server_close":         {words: "the server announced closing", change: "Server: switch keep-alive on"},
	"race":                 {words: "crossed the server's closing (race)", change: "Client's idle timeout shorter than the server's"},
	"stale_reuse":          {words: "sent on a connection closed long ago", change: "Client: check before reuse, retry what is safe"},
	"goaway_error":         {words: "HTTP/2 GOAWAY with an error", change: "See its code in the row HTTP/2: often pings too often, or too many resets"},
	"server_goaway":        {words: "HTTP/2 GOAWAY by the server", change: "Server: longer maximum age, higher request limit"},
	"client_goaway":        {words: "HTTP/2 GOAWAY by the client", change: "Client: one channel for the process"},
	"client_abort":         {words: "the client gave up its request", change: "Client: its timeout; server: why it answers late"},
	"server_abort":         {words: "the server closed without an answer", change: "Server: crashes, restarts without draining, a worker's limit"},
	"client_discard":       {words: "the client closed after the response", change: "Client: reuse one client or session, read bodies to their end"},
	"server_discard":       {words: "the server closed after the response, unannounced", change: "Server: switch keep-alive on; look for a worker that ends after each request"},
	"client_idle":          {words: "the client's idle timeout", change: "Client: a longer idle timeout, but shorter than the server's"},
	"server_idle":          {words: "the server's idle timeout", change: "Server: a longer idle timeout (nginx: keepalive_timeout; Node: keepAliveTimeout)"},
	"path_dropped":         {words: "the path forgot the connection", change: "NAT, firewall or balancer between: TCP keep-alive or an idle timeout below theirs"},
	"upgraded":             {words: "it was upgraded, to a WebSocket or tunnel", change: "nothing, unless one is opened for each message"},
	"not_captured":         {words: "unknown: the capture lost what may say it", change: "See the dashboard Capture health"},
	"timeout":              {words: "silent too long to be followed", change: "nothing"},
	"evicted":              {words: "given up by Keepscope", change: "Raise --max-connections"},

	"refused_stream": {words: "HTTP/2 stream not processed", change: "Server: raise MAX_CONCURRENT_STREAMS, drain slowly", blame: fact.BlamesServer},
	"close_ignored":  {words: "sent after closing was announced", change: "Client: obey Connection: close and GOAWAY", blame: fact.BlamesClient},
	"refused":        {words: "handshakes are refused", change: "Nobody listens there: start it, or correct the address", blame: fact.BlamesServer},
	"unanswered":     {words: "handshakes are not answered", change: "A firewall, a dead host or a full accept queue drops SYNs"},
}

// whys lists the values of labelWhy, causes first.
func whys() []string {
	var list []string
	for c := range fact.NumCauses {
		if c.Possible() {
			list = append(list, c.String())
		}
	}
	for _, more := range append(exporter.Values(exporter.LabelHow), whyCloses, "refused", "unanswered", whyNone) {
		if !slices.Contains(list, more) {
			list = append(list, more)
		}
	}
	return list
}

// blamed returns the side that can change something.
func blamed(why string) fact.Blame {
	for c := range fact.NumCauses {
		if c.String() == why {
			return c.Blames()
		}
	}
	return habits[why].blame
}

// whyColumns maps the values of the two columns that a table has of labelWhy.
func whyColumns() (words, change dashboard.ValueMapping) {
	w, c := map[string]dashboard.ValueMappingResult{}, map[string]dashboard.ValueMappingResult{}
	for i, why := range whys() {
		h := habits[why]
		w[why] = dashboard.ValueMappingResult{Text: ref(h.words), Color: ref(cellColors[blamed(why)]), Index: ref(int32(i))}
		c[why] = dashboard.ValueMappingResult{Text: ref(h.change), Index: ref(int32(i))}
	}
	return toText(w), toText(c)
}

func toText(options map[string]dashboard.ValueMappingResult) dashboard.ValueMapping {
	return dashboard.ValueMapping{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}
}

// replaced returns the expression with a copy of a label.
func replaced(expr, to, from string) string {
	return fmt.Sprintf(`label_replace(%s, %q, "$1", %q, "(.+)")`, expr, to, from)
}

// called returns the expression with a label of one value.
func called(expr, label, value string) string {
	return fmt.Sprintf(`label_replace(%s, %q, %q, "", "")`, expr, label, value)
}

// A window takes the increase, or the increase per second, of a counter.
type window func(metric string, matchers ...string) string

func (s scope) rates(over string) window {
	return func(metric string, matchers ...string) string { return s.rate(over, metric, matchers...) }
}

func (s scope) increases(over string) window {
	return func(metric string, matchers ...string) string {
		if metric == exporter.HandshakeAttempts {
			return s.grown(over, metric, matchers...)
		}
		return s.increase(over, metric, matchers...)
	}
}

// grown is increase for a counter that is born with its first event, as of a server
// that was never reached: increase does not see that. Of series that were not there
// before the window, of a sidecar that was, all has happened within it.
func (s scope) grown(over, metric string, matchers ...string) string {
	last := func(selector, offset string) string {
		return "last_over_time(" + selector + "[" + over + "]" + offset + ")"
	}
	m, before := s.pick(metric, matchers...), " offset "+over
	return fmt.Sprintf("(%s unless %s and on (%s) %s or %s)", last(m, ""), last(m, before), joined(perInstance),
		last(noScope.pick(exporter.BuildInfo), before), s.increase(over, metric, matchers...))
}

// estimated marks what has the labels of its counted twin.
func estimated(expr string) string { return called(expr, "figures", "estimated") }

// counted is wasted handshakes with labelWhy.
func (w window) counted() string {
	return replaced(w(exporter.WastedHandshakes, application), labelWhy, exporter.LabelCause)
}

// guessed is estimated wasted handshakes with labelWhy, which blames no side
// where it can't be known.
func (w window) guessed() string {
	return fmt.Sprintf(`label_replace(%s, %q, %q, %q, "(client|server)_discard")`,
		replaced(w(exporter.EstimatedWasted), labelWhy, exporter.LabelCause), labelWhy, whyCloses, exporter.LabelCause)
}

// failed is requests that failed, with labelWhy.
func (w window) failed() string {
	return either(replaced(w(exporter.FailedRequests), labelWhy, exporter.LabelHow),
		replaced(estimated(w(exporter.EstimatedFailed)), labelWhy, exporter.LabelHow))
}

var failedAttempts = oneOf(exporter.LabelResult, fact.HandshakeRefused.String(), fact.HandshakeUnanswered.String())

// vain is handshakes that came to nothing, with labelWhy.
func (w window) vain() string {
	return replaced(w(exporter.HandshakeAttempts, failedAttempts), labelWhy, exporter.LabelResult)
}

// requests is counted and estimated ones, seconds what was wasted on handshakes.
func (w window) requests() string {
	return either(w(exporter.Requests, application), w(exporter.EstimatedRequests))
}

func (w window) seconds() string {
	return either(w(exporter.WastedSeconds, application), w(exporter.EstimatedSeconds))
}

// chances is what effectiveness is a share of, counted and estimated.
func (w window) chances() string {
	reused := is(exporter.LabelReused, "true")
	return either(w(exporter.Requests, application, reused), w(exporter.WastedHandshakes, application),
		w(exporter.EstimatedRequests, reused), w(exporter.EstimatedWasted))
}

// atLeast keeps of an expression by labels and labelWhy what is at least n, and
// a share of what whole is by labels.
func atLeast(expr string, n float64, share float64, whole string, labels []string) string {
	return fmt.Sprintf("(%s >= %g and %s >= on (%s) group_left () (%g * %s))", expr, n, expr, joined(labels), share, sum(labels, whole))
}

// mainCause has one series for each value of labels: its label why says what
// there is to change first. As in the report, what makes requests fail comes
// before what makes them wait, and the thresholds are those of the findings.
func (s scope) mainCause(over string, labels []string) string {
	w, byWhy := s.increases(over), append(slices.Clone(labels), labelWhy)
	first := func(expr string) string { return "topk by (" + joined(labels) + ") (1, " + expr + ")" }
	failed := sum(byWhy, w.failed())
	failing := either(
		atLeast(failed, findings.MinFailed, findings.MinFailedShare, w.requests(), labels),
		fmt.Sprintf("%s >= %d", failed, findings.ManyFailed),
		atLeast(sum(byWhy, w.vain()), findings.MinAttempts, findings.MinAttemptShare, w(exporter.ConnectionsOpened), labels))
	wasting := atLeast(sum(byWhy, either(w.counted(), w.guessed())), findings.MinWasted, findings.MinWastedShare, w.chances(), labels)
	nothing := called("0 * "+sum(labels, w(exporter.ConnectionsOpened)), labelWhy, whyNone)
	otherwise := " or on (" + joined(labels) + ") "
	return first(failing) + otherwise + first(wasting) + otherwise + nothing
}
