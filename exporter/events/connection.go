package events

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/sniffer"
)

type (
	connection = fact.Connection
	exchange   = fact.Exchange
)

// Connections is the table of a connection's fields.
var Connections = Table[connection]{
	{Name: "type", Kind: Word, Get: always(func(_ *connection, v *Value) { v.Word = "connection" })},
	identity("id", func(c *connection) uint64 { return c.ID }),
	{Name: "community_id", Kind: Identity, Get: communityID},
	endpoint("client", func(c *connection) *sniffer.Endpoint { return &c.Client }),
	endpoint("server", func(c *connection) *sniffer.Endpoint { return &c.Server }),
	text("server_name", func(c *connection) string { return c.ServerName }),
	moment("start", func(c *connection) int64 { return c.Start }),
	moment("end", func(c *connection) int64 { return c.End }),
	word("handshake", func(c *connection) fact.Handshake { return c.Handshake }),
	seconds("handshake_seconds", func(c *connection) int64 { return c.HandshakeTime }),
	tlsOf("tls", func(c *connection) *fact.TLS { return c.TLS }),
	{Name: "decrypted", Kind: Flag, Get: func(c *connection, v *Value) bool {
		v.Flag = c.Keys == fact.KeysDecrypted
		return c.TLS != nil
	}},
	softwareOf("software", func(c *connection) *[2]program { return &c.Software }),
	word("protocol", func(c *connection) fact.Protocol { return c.Protocol }),
	{Name: "http_versions", Kind: Words, Get: versions},
	flagIf("guessed", func(c *connection) bool { return c.Guessed }),
	flagIf("grpc", func(c *connection) bool { return c.Streams != nil && c.Streams.GRPC }),
	count("requests", func(c *connection) uint32 { return c.Requests }),
	count("responses", func(c *connection) uint32 { return c.Responses }),
	count("reused_requests", func(c *connection) uint32 { return c.Reused }),
	count("unsolicited_responses", func(c *connection) uint32 { return c.Unsolicited }),
	count("pipelined_requests", func(c *connection) uint32 { return c.Pipelined }),
	countIf("requests_lost", func(c *connection) uint32 { return c.RequestsLost }),
	flag("estimated", func(c *connection) bool { return c.Estimated }),
	{Name: "negotiated", Kind: Counts, Keys: fact.Names(fact.NumOutcomes), Get: always(func(c *connection, v *Value) { v.Counts = c.Negotiated[:] })},
	group("advertised", func(c *connection) bool { return c.HasAdvertisedTimeout || c.HasAdvertisedMax },
		Column[connection]{Name: "timeout_seconds", Kind: Count, Get: func(c *connection, v *Value) bool {
			v.Count = uint64(c.AdvertisedTimeout)
			return c.HasAdvertisedTimeout
		}},
		Column[connection]{Name: "max", Kind: Count, Get: func(c *connection, v *Value) bool {
			v.Count = uint64(c.AdvertisedMax)
			return c.HasAdvertisedMax
		}}),
	{Name: "reuse_idle_seconds", Kind: SecondsList, Get: func(c *connection, v *Value) bool {
		v.Ints = c.ReuseIdle
		return len(v.Ints) > 0
	}},
	countIf("reuse_idle_unlisted", func(c *connection) uint32 { return c.MoreReuseIdle }),
	seconds("close_idle_seconds", func(c *connection) int64 { return c.CloseIdle }),
	group("tunnel", func(c *connection) bool { return c.Tunnel != nil },
		text("target", func(c *connection) string { return c.Tunnel.Target }),
		count("requests", func(c *connection) uint32 { return c.Tunnel.Requests }),
		tlsOf("tls", func(c *connection) *fact.TLS { return c.Tunnel.TLS })),
	streams,
	list("goaway", func(c *connection) bool {
		return c.Streams != nil && (c.Streams.Goaway[fact.ByClient].Seen || c.Streams.Goaway[fact.ByServer].Seen)
	}, goaway(fact.ByClient), goaway(fact.ByServer)),
	{Name: "grpc_status", Kind: Counts, Keys: fact.Names(http.GRPCStatus(http.NumGRPCStatuses))[1:], Get: grpcErrors},
	sides("pings", func(c *connection) bool { return c.Streams != nil && c.Streams.Pings != [2]uint32{} },
		func(c *connection) *[2]uint32 { return &c.Streams.Pings }),
	group("keepalive_probes", func(c *connection) bool { return c.Path != nil && c.Path.Probes != [2]uint32{} },
		count("client", func(c *connection) uint32 { return c.Path.Probes[fact.ByClient] }),
		count("server", func(c *connection) uint32 { return c.Path.Probes[fact.ByServer] }),
		secondsIf("interval_seconds", func(c *connection) int64 { return c.Path.Interval })),
	word("closed_by", func(c *connection) fact.ClosedBy { return c.ClosedBy }),
	word("closed_with", func(c *connection) fact.ClosedWith { return c.ClosedWith }),
	word("reason", func(c *connection) fact.Reason { return c.Reason }),
	flagIf("unsettled", func(c *connection) bool { return c.Unheard }),
	word("verdict", func(c *connection) fact.Verdict { return c.Verdict }),
	{Name: "cause", Kind: Word, Get: func(c *connection, v *Value) bool {
		v.Word = c.Cause.String()
		return wasted(c)
	}},
	{Name: "cost_seconds", Kind: Seconds, Get: func(c *connection, v *Value) bool {
		v.Int = c.Cost.TCP + c.Cost.TLS + c.Cost.DNS + c.Cost.Connect
		return wasted(c)
	}},
	group("could_reuse", func(c *connection) bool { return wasted(c) && c.CouldReuse != nil },
		identity("id", func(c *connection) uint64 { return c.CouldReuse.ID }),
		count("client_port", func(c *connection) uint16 { return c.CouldReuse.Port }),
		moment("start", func(c *connection) int64 { return c.CouldReuse.Start }),
		Column[connection]{Name: "usable_until", Kind: Time, Get: func(c *connection, v *Value) bool {
			v.Int = c.CouldReuse.UsableUntil
			return v.Int != fact.Absent
		}},
		Column[connection]{Name: "reason", Kind: Word, Get: func(c *connection, v *Value) bool {
			v.Word = c.CouldReuse.Reason.String()
			return c.CouldReuse.Reason != fact.ReasonNone
		}}),
	flag("race", func(c *connection) bool { return c.Race }),
	{Name: "race_idle_seconds", Kind: Seconds, Get: func(c *connection, v *Value) bool {
		v.Int = c.RaceIdle
		return c.Race
	}},
	flag("incomplete", func(c *connection) bool { return c.Incomplete }),
	count("missing_bytes", func(c *connection) uint64 { return c.Missing }),
	countIf("truncated_bytes", func(c *connection) uint64 { return c.Truncated }),
	flagIf("body_unread", func(c *connection) bool { return c.BodyUnread }),
	sides("bytes", nil, func(c *connection) *[2]uint64 { return &c.Bytes }),
	sides("packets", nil, func(c *connection) *[2]uint32 { return &c.Packets }),
}

// Exchanges is the table of an exchange's fields. Client, server and the
// connection's start say which connection it rode, and index which request of it
// this is.
var Exchanges = Table[exchange]{
	{Name: "type", Kind: Word, Get: always(func(_ *exchange, v *Value) { v.Word = "exchange" })},
	identity("connection", func(x *exchange) uint64 { return x.Connection }),
	endpoint("client", func(x *exchange) *sniffer.Endpoint { return &x.Client }),
	endpoint("server", func(x *exchange) *sniffer.Endpoint { return &x.Server }),
	text("server_name", func(x *exchange) string { return x.ServerName }),
	moment("connection_start", func(x *exchange) int64 { return x.Opened }),
	count("index", func(x *exchange) uint32 { return x.Index }),
	number("stream", func(x *exchange) http.Stream { return x.Stream }),
	moment("start", func(x *exchange) int64 { return x.Start }),
	{Name: "end", Kind: Time, Get: func(x *exchange, v *Value) bool {
		v.Int = x.End
		return x.End != 0
	}},
	{Name: "seconds", Kind: Seconds, Get: func(x *exchange, v *Value) bool {
		v.Int = x.End - x.Start
		return x.End != 0
	}},
	word("method", func(x *exchange) http.Method { return x.Method }),
	{Name: "http_version", Kind: Word, Get: func(x *exchange, v *Value) bool {
		v.Word = x.Version.String()
		return x.Version != http.VersionUnknown
	}},
	number("status", func(x *exchange) uint16 { return x.Status }),
	word("outcome", func(x *exchange) fact.Outcome { return x.Outcome }),
	{Name: "failure", Kind: Word, Get: func(x *exchange, v *Value) bool {
		v.Word = x.Failure.String()
		return x.Failure != fact.NotFailed
	}},
	flagIf("unsettled", func(x *exchange) bool { return x.Unheard }),
	secondsIf("given_up_seconds", func(x *exchange) int64 { return x.GivenUp }),
	{Name: "reused", Kind: Flag, Get: always(func(x *exchange, v *Value) {
		v.Flag, v.Null = x.Reuse == fact.ReusedRequest, x.Reuse > fact.ReusedRequest
	})},
	seconds("idle_before_seconds", func(x *exchange) int64 { return x.Idle }),
}

// streams is what HTTP/2 adds.
var streams = group("streams", func(c *connection) bool { return c.Streams != nil },
	count("max_concurrent", func(c *connection) uint32 { return c.Streams.MaxConcurrent }),
	Column[connection]{Name: "limit", Kind: Count, Get: func(c *connection, v *Value) bool {
		v.Count = uint64(c.Streams.Limit)
		return c.Streams.Limit != http.Unlimited
	}},
	seconds("at_limit_seconds", func(c *connection) int64 { return c.Streams.AtLimit }),
	count("reset_by_client", func(c *connection) uint32 { return c.Streams.Reset[fact.ByClient] }),
	count("reset_by_server", func(c *connection) uint32 { return c.Streams.Reset[fact.ByServer] }),
	count("refused", func(c *connection) uint32 { return c.Streams.Refused }),
	count("pushed", func(c *connection) uint32 { return c.Streams.Pushed }),
	count("concurrent_requests", func(c *connection) uint32 { return c.Streams.Concurrent }))

func goaway(by fact.ClosedBy) Column[connection] {
	of := func(c *connection) *fact.Goaway { return &c.Streams.Goaway[by] }
	return group(by.String(), func(c *connection) bool { return of(c).Seen },
		word("by", func(*connection) fact.ClosedBy { return by }),
		word("code", func(c *connection) http.Code { return of(c).Code }),
		count("last_stream", func(c *connection) http.Stream { return of(c).Last }),
		seconds("age_seconds", func(c *connection) int64 { return max(of(c).At-c.Start, 0) }))
}

// grpcErrors leaves out OK, the status 0.
func grpcErrors(c *connection, v *Value) bool {
	if c.Streams == nil {
		return false
	}
	errors := false
	for _, n := range c.Streams.GRPCStatus[1:] {
		errors = errors || n > 0
	}
	v.Counts = c.Streams.GRPCStatus[1:]
	return errors
}

type program = software.ID

// softwareOf is what the sides call themselves.
func softwareOf[T any](name string, get func(*T) *[2]program) Column[T] {
	side := func(name string, i int) Column[T] {
		return Column[T]{Name: name, Kind: Word, Get: func(r *T, v *Value) bool {
			id := get(r)[i]
			v.Word = id.String()
			return id != software.Unknown
		}}
	}
	return group(name, func(r *T) bool { return *get(r) != [2]program{} }, side("client", 0), side("server", 1))
}

func wasted(c *connection) bool { return c.Verdict == fact.VerdictWasted }

func tlsOf(name string, get func(*connection) *fact.TLS) Column[connection] {
	return group(name, func(c *connection) bool { return get(c) != nil },
		Column[connection]{Name: "version", Kind: Word, Get: always(func(c *connection, v *Value) { v.Word = tlsVersion(get(c).Version) })},
		text("sni", func(c *connection) string { return get(c).SNI }),
		text("alpn", func(c *connection) string { return get(c).ALPN }),
		flag("resumed", func(c *connection) bool { return get(c).Resumed }),
		seconds("handshake_seconds", func(c *connection) int64 { return get(c).Handshake }))
}

// tlsVersions are "1.0" to "1.3", and SSL's.
var tlsVersions = map[uint16]string{0x0300: "ssl3.0", 0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", 0x0304: "1.3"}

// tlsVersion writes a version, one that is not known as the number on the wire.
func tlsVersion(v uint16) string {
	if name, ok := tlsVersions[v]; ok {
		return name
	}
	const hex = "0123456789abcdef"
	return string([]byte{'0', 'x', hex[v>>12], hex[v>>8&15], hex[v>>4&15], hex[v&15]})
}

// versionLists has the names of every set of versions, by its bits.
var versionLists = func() (lists [1 << http.NumVersions][]string) {
	for set := range lists {
		for v := http.Version(1); v < http.NumVersions; v++ {
			if set>>v&1 == 1 {
				lists[set] = append(lists[set], v.String())
			}
		}
	}
	return lists
}()

func versions(c *connection, v *Value) bool {
	set := 0
	for i, seen := range c.Versions {
		if seen && i > 0 {
			set |= 1 << i
		}
	}
	v.Words = versionLists[set]
	return set != 0
}
