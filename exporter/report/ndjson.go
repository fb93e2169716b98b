package report

import (
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/sniffer"
)

// An Encoder writes NDJSON lines to W as they come: one write a line. The line
// is built by appending, without reflection and without allocation in the
// steady state (BenchmarkEncoder). The first error of W is kept and ends it.
type Encoder struct {
	W         io.Writer
	Exchanges bool // write lines of exchanges as well
	buf       []byte
	err       error
}

// Connection writes the line of a connection.
func (e *Encoder) Connection(c *fact.Connection) {
	if e.err != nil {
		return
	}
	e.buf = append(AppendConnection(e.buf[:0], c), '\n')
	_, e.err = e.W.Write(e.buf)
}

// Exchange writes the line of an exchange, if they are wanted.
func (e *Encoder) Exchange(x *fact.Exchange) {
	if e.err != nil || !e.Exchanges {
		return
	}
	e.buf = append(AppendExchange(e.buf[:0], x), '\n')
	_, e.err = e.W.Write(e.buf)
}

// Err returns the first error of W.
func (e *Encoder) Err() error { return e.err }

// AppendConnection appends the JSON object of a connection, without a newline.
func AppendConnection(b []byte, c *fact.Connection) []byte {
	b = append(b, `{"type":"connection",`...)
	b = appendEnds(b, c.Client, c.Server, c.ServerName)
	b = append(b, `,"start":`...)
	b = appendTime(b, c.Start)
	b = append(b, `,"end":`...)
	b = appendTime(b, c.End)
	b = appendName(b, `,"handshake":`, c.Handshake.String())
	if c.HandshakeTime >= 0 {
		b = appendSecondsField(b, `,"handshake_seconds":`, c.HandshakeTime)
	}
	if c.TLS != nil {
		b = appendTLS(b, c.TLS)
	}
	b = appendHTTP(b, c)
	b = appendIdle(b, c)
	b = appendName(b, `,"closed_by":`, c.ClosedBy.String())
	b = appendName(b, `,"closed_with":`, c.ClosedWith.String())
	b = appendName(b, `,"reason":`, c.Reason.String())
	b = appendVerdict(b, c)
	b = appendMissing(b, c)
	b = appendCount(b, `,"bytes":{"client":`, c.Bytes[0])
	b = appendCount(b, `,"server":`, c.Bytes[1])
	b = appendCount(b, `},"packets":{"client":`, uint64(c.Packets[0]))
	b = appendCount(b, `,"server":`, uint64(c.Packets[1]))
	return append(b, "}}"...)
}

func appendTLS(b []byte, t *fact.TLS) []byte {
	b = append(b, `,"tls":{"version":`...)
	b = appendTLSVersion(b, t.Version)
	if t.SNI != "" {
		b = append(b, `,"sni":`...)
		b = appendString(b, t.SNI)
	}
	if t.ALPN != "" {
		b = append(b, `,"alpn":`...)
		b = appendString(b, t.ALPN)
	}
	b = appendBool(b, `,"resumed":`, t.Resumed)
	if t.Handshake >= 0 {
		b = appendSecondsField(b, `,"handshake_seconds":`, t.Handshake)
	}
	return append(b, '}')
}

// appendTLSVersion writes "1.0" to "1.3", "3.0" for SSL, or the wire's number.
func appendTLSVersion(b []byte, v uint16) []byte {
	b = append(b, '"')
	switch {
	case v == 0x0300:
		b = append(b, "ssl3.0"...)
	case v >= 0x0301 && v <= 0x0304:
		b = append(b, '1', '.', byte('0'+v-0x0301))
	default:
		const hex = "0123456789abcdef"
		b = append(b, '0', 'x', hex[v>>12], hex[v>>8&15], hex[v>>4&15], hex[v&15])
	}
	return append(b, '"')
}

func appendHTTP(b []byte, c *fact.Connection) []byte {
	b = appendName(b, `,"protocol":`, c.Protocol.String())
	b = appendVersions(b, &c.Versions)
	b = appendCount(b, `,"requests":`, uint64(c.Requests))
	b = appendCount(b, `,"responses":`, uint64(c.Responses))
	b = appendCount(b, `,"reused_requests":`, uint64(c.Reused))
	b = appendCount(b, `,"unsolicited_responses":`, uint64(c.Unsolicited))
	b = appendCount(b, `,"pipelined_requests":`, uint64(c.Pipelined))
	b = appendBool(b, `,"estimated":`, c.Estimated)
	b = appendNegotiated(b, &c.Negotiated)
	if !c.HasAdvertisedTimeout && !c.HasAdvertisedMax {
		return b
	}
	b = append(b, `,"advertised":{`...)
	if c.HasAdvertisedTimeout {
		b = appendCount(b, `"timeout_seconds":`, uint64(c.AdvertisedTimeout))
	}
	if c.HasAdvertisedMax {
		if c.HasAdvertisedTimeout {
			b = append(b, ',')
		}
		b = appendCount(b, `"max":`, uint64(c.AdvertisedMax))
	}
	return append(b, '}')
}

func appendVersions(b []byte, seen *[http.NumVersions]bool) []byte {
	first := true
	for v, ok := range seen {
		if !ok || v == 0 {
			continue
		}
		if first {
			b = append(b, `,"http_versions":["`...)
		} else {
			b = append(b, `,"`...)
		}
		b = append(append(b, http.Version(v).String()...), '"')
		first = false
	}
	if first {
		return b
	}
	return append(b, ']')
}

// appendNegotiated writes the outcomes that occurred; keep_alive, the one that
// a reader looks for, stands first.
func appendNegotiated(b []byte, n *[fact.NumOutcomes]uint32) []byte {
	b = append(b, `,"negotiated":{`...)
	first := true
	for i := range n {
		o := (fact.Outcome(i) + fact.KeepAlive) % fact.NumOutcomes
		if n[o] == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), o.String()...), `":`...)
		b = strconv.AppendUint(b, uint64(n[o]), 10)
		first = false
	}
	return append(b, '}')
}

func appendIdle(b []byte, c *fact.Connection) []byte {
	for i, ns := range c.ReuseIdle {
		if i == 0 {
			b = append(b, `,"reuse_idle_seconds":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendSeconds(b, ns)
	}
	if len(c.ReuseIdle) > 0 {
		b = append(b, ']')
	}
	if c.MoreReuseIdle > 0 {
		b = appendCount(b, `,"reuse_idle_unlisted":`, uint64(c.MoreReuseIdle))
	}
	if c.CloseIdle >= 0 {
		b = appendSecondsField(b, `,"close_idle_seconds":`, c.CloseIdle)
	}
	return b
}

func appendVerdict(b []byte, c *fact.Connection) []byte {
	b = appendName(b, `,"verdict":`, c.Verdict.String())
	if c.Verdict == fact.VerdictWasted {
		b = appendName(b, `,"cause":`, c.Cause.String())
		b = appendSecondsField(b, `,"cost_seconds":`, c.Cost.TCP+c.Cost.TLS+c.Cost.DNS)
	}
	b = appendBool(b, `,"race":`, c.Race)
	if c.Race {
		b = appendSecondsField(b, `,"race_idle_seconds":`, c.RaceIdle)
	}
	return b
}

func appendMissing(b []byte, c *fact.Connection) []byte {
	b = appendBool(b, `,"incomplete":`, c.Incomplete)
	b = appendCount(b, `,"missing_bytes":`, c.Missing)
	if c.Truncated > 0 {
		b = appendCount(b, `,"truncated_bytes":`, c.Truncated)
	}
	if c.BodyUnread {
		b = appendBool(b, `,"body_unread":`, true)
	}
	return b
}

// AppendExchange appends the JSON object of an exchange, without a newline.
// Client, server and the connection's start say which connection it rode, and
// index which request of it this is.
func AppendExchange(b []byte, x *fact.Exchange) []byte {
	b = append(b, `{"type":"exchange",`...)
	b = appendEnds(b, x.Client, x.Server, x.ServerName)
	b = append(b, `,"connection_start":`...)
	b = appendTime(b, x.Opened)
	b = appendCount(b, `,"index":`, uint64(x.Index))
	b = append(b, `,"start":`...)
	b = appendTime(b, x.Start)
	if x.End != 0 {
		b = append(b, `,"end":`...)
		b = appendTime(b, x.End)
		b = appendSecondsField(b, `,"seconds":`, x.End-x.Start)
	}
	b = appendName(b, `,"method":`, x.Method.String())
	if x.Version != http.VersionUnknown {
		b = appendName(b, `,"http_version":`, x.Version.String())
	}
	if x.Status != 0 {
		b = appendCount(b, `,"status":`, uint64(x.Status))
	}
	b = appendName(b, `,"outcome":`, x.Outcome.String())
	switch x.Reuse {
	case fact.FirstRequest:
		b = append(b, `,"reused":false`...)
	case fact.ReusedRequest:
		b = append(b, `,"reused":true`...)
	default:
		b = append(b, `,"reused":null`...)
	}
	if x.Idle >= 0 {
		b = appendSecondsField(b, `,"idle_before_seconds":`, x.Idle)
	}
	return append(b, '}')
}

func appendEnds(b []byte, client, server sniffer.Endpoint, name string) []byte {
	b = append(b, `"client":`...)
	b = appendEndpoint(b, client)
	b = append(b, `,"server":`...)
	b = appendEndpoint(b, server)
	if name != "" {
		b = append(b, `,"server_name":`...)
		b = appendString(b, name)
	}
	return b
}

func appendEndpoint(b []byte, e sniffer.Endpoint) []byte {
	b = append(b, `{"ip":"`...)
	b = e.Addr.Netip().AppendTo(b)
	b = appendCount(b, `","port":`, uint64(e.Port))
	return append(b, '}')
}

func appendCount(b []byte, field string, n uint64) []byte {
	return strconv.AppendUint(append(b, field...), n, 10)
}

func appendBool(b []byte, field string, v bool) []byte {
	return strconv.AppendBool(append(b, field...), v)
}

// appendName appends a name of ours, which needs no escaping.
func appendName(b []byte, field, name string) []byte {
	b = append(append(append(b, field...), '"'), name...)
	return append(b, '"')
}

func appendSecondsField(b []byte, field string, ns int64) []byte {
	return appendSeconds(append(b, field...), ns)
}

// appendSeconds appends nanoseconds as exact seconds in the fewest digits:
// 310000 is 0.00031.
func appendSeconds(b []byte, ns int64) []byte {
	u := uint64(ns)
	if ns < 0 {
		b, u = append(b, '-'), -u
	}
	b = strconv.AppendUint(b, u/1e9, 10)
	frac := u % 1e9
	if frac == 0 {
		return b
	}
	b = append(b, '.')
	for div := uint64(1e8); frac > 0; div /= 10 {
		b = append(b, byte('0'+frac/div))
		frac %= div
	}
	return b
}

// appendTime appends Unix nanoseconds as RFC 3339 in UTC, without trailing
// zeros in the fraction.
func appendTime(b []byte, ns int64) []byte {
	b = append(b, '"')
	b = time.Unix(0, ns).UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendString appends a JSON string (RFC 8259 §7). Besides what must be
// escaped it escapes what a terminal would obey or show out of order: C1
// controls and invisible formatting; and it replaces what is not UTF-8.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if c >= utf8.RuneSelf && !(r == utf8.RuneError && n == 1) && r >= 0xa0 && !isFormat(r) {
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, r)
		i += n
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// appendEscape escapes a rune of the basic plane.
func appendEscape(b []byte, r rune) []byte {
	if r == '"' || r == '\\' {
		return append(b, '\\', byte(r))
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
