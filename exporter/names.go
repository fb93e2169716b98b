package exporter

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/tally"
)

// The names of the metrics. Metrics describes them.
const (
	ConnectionsOpened  = "keepscope_connections_opened_total"
	ConnectionsClosed  = "keepscope_connections_closed_total"
	ConnectionsOpen    = "keepscope_connections_open"
	ConnectionRequests = "keepscope_connection_requests"
	ConnectionDuration = "keepscope_connection_duration_seconds"
	Requests           = "keepscope_requests_total"
	Exchanges          = "keepscope_exchanges_total"
	HandshakeSeconds   = "keepscope_handshake_seconds"
	WastedHandshakes   = "keepscope_wasted_handshakes_total"
	WastedSeconds      = "keepscope_wasted_handshake_seconds_total"
	NeededHandshakes   = "keepscope_needed_handshakes_total"
	Races              = "keepscope_keepalive_races_total"
	ReuseIdle          = "keepscope_reuse_idle_seconds"
	CloseIdle          = "keepscope_close_idle_seconds"
	ObservedTimeout    = "keepscope_observed_idle_timeout_seconds"
	AdvertisedTimeout  = "keepscope_advertised_idle_timeout_seconds"
	Unsolicited        = "keepscope_unsolicited_responses_total"

	Goaways            = "keepscope_goaways_total"
	FailedRequests     = "keepscope_failed_requests_total"
	HandshakeAttempts  = "keepscope_handshake_attempts_total"
	StreamsConcurrent  = "keepscope_streams_concurrent"
	StreamLimitReached = "keepscope_stream_limit_reached_seconds_total"
	RefusedStreams     = "keepscope_refused_streams_total"
	StaleReuses        = "keepscope_stale_reuses_total"
	PathDrops          = "keepscope_path_drops_total"
	PathTimeout        = "keepscope_observed_path_timeout_seconds"
	GRPCErrors         = "keepscope_grpc_errors_total"
	TLSConnections     = "keepscope_tls_connections_total"

	EstimatedRaces       = "keepscope_estimated_races_total"
	EstimatedStaleReuses = "keepscope_estimated_stale_reuses_total"
	EstimatedFailed      = "keepscope_estimated_failed_requests_total"

	EstimatedRequests = "keepscope_estimated_requests_total"
	EstimatedWasted   = "keepscope_estimated_wasted_handshakes_total"
	EstimatedSeconds  = "keepscope_estimated_wasted_handshake_seconds_total"
	EstimatedNeeded   = "keepscope_estimated_needed_handshakes_total"

	CapturePackets = "keepscope_capture_packets_total"
	CaptureBytes   = "keepscope_capture_bytes_total"
	CaptureDropped = "keepscope_capture_dropped_packets_total"
	LastPacket     = "keepscope_capture_last_packet_timestamp_seconds"
	DecodeErrors   = "keepscope_decode_errors_total"

	MissingBytes          = "keepscope_stream_missing_bytes_total"
	OutOfOrderSegments    = "keepscope_stream_out_of_order_segments_total"
	IncompleteConnections = "keepscope_incomplete_connections_total"
	EvictedConnections    = "keepscope_evicted_connections_total"
	TrackedConnections    = "keepscope_tracked_connections"
	BufferedBytes         = "keepscope_reassembly_buffered_bytes"

	KeylogLines      = "keepscope_keylog_lines_total"
	StrayResets      = "keepscope_stray_resets_total"
	CapMet           = "keepscope_cap_met_total"
	ResettledReasons = "keepscope_resettled_reasons_total"

	Servers     = "keepscope_servers"
	ServerLimit = "keepscope_servers_limit"
	LogLines    = "keepscope_log_lines_total"
	LogDropped  = "keepscope_log_dropped_lines_total"
	ReuseWindow = "keepscope_reuse_window_seconds"
	BuildInfo   = "keepscope_build_info"
)

// The names of the labels.
const (
	LabelDirection  = "direction"
	LabelServer     = "server"
	LabelClient     = "client" // only where client networks are asked for
	LabelHandshake  = "handshake"
	LabelClosedBy   = "closed_by"
	LabelReason     = "reason"
	LabelProtocol   = "protocol"
	LabelReused     = "reused"
	LabelNegotiated = "negotiated"
	LabelKind       = "kind"
	LabelCause      = "cause"
	LabelSide       = "side"
	LabelInterface  = "interface"
	LabelWhere      = "where"
	LabelLayer      = "layer"
	LabelTraffic    = "traffic"
	LabelBy         = "by"
	LabelCode       = "code"
	LabelHow        = "how"
	LabelResult     = "result"
	LabelBound      = "bound"
	LabelKeys       = "keys"
	LabelCap        = "cap"
	LabelID         = "id" // of an exemplar's connection
	LabelVersion    = "version"
	LabelCommit     = "commit"
	LabelGoVersion  = "goversion"
)

// Other is the server of everything beyond the cap on servers, and the client
// network of everything beyond the cap on those.
const Other = naming.Other

// A Kind is the type of a metric.
type Kind uint8

// The kinds.
const (
	Counter Kind = iota
	Gauge
	Histogram
)

// String returns the kind's name in the exposition formats.
func (k Kind) String() string {
	return [...]string{Counter: "counter", Gauge: "gauge", Histogram: "histogram"}[k]
}

// A Metric describes a metric.
type Metric struct {
	Name      string
	Kind      Kind
	Help      string
	PerServer bool     // it has the labels direction and server, which come first
	Labels    []string // the others
}

// AllLabels returns the names of the metric's labels in order. LabelClient,
// which an option adds to those of servers, is not among them.
func (m Metric) AllLabels() []string {
	if !m.PerServer {
		return m.Labels
	}
	return append([]string{LabelDirection, LabelServer}, m.Labels...)
}

// Metrics lists every metric that Keepscope itself exports, in the order in
// which they are documented.
var Metrics = []Metric{
	{ConnectionsOpened, Counter, "TCP connections, counted at the first request or ClientHello, at the latest when they end, by how much of the handshake was captured by then.", true, []string{LabelHandshake}},
	{ConnectionsClosed, Counter, "TCP connections that ended, by who closed first and by the reason for which no further request could ride them.", true, []string{LabelClosedBy, LabelReason, LabelTraffic}},
	{ConnectionsOpen, Gauge, "TCP connections that have carried a request or a ClientHello and are open.", true, nil},
	{ConnectionRequests, Histogram, "Requests on a connection that carried at least one, when it ended. Undecrypted TLS is left out.", true, nil},
	{ConnectionDuration, Histogram, "Time from a connection's first packet to its last, when it ended.", true, nil},
	{Requests, Counter, "HTTP requests whose exchange is over, by protocol and by whether they rode a connection that had carried one before (unknown: the first that is seen on a connection whose beginning is not).", true, []string{LabelProtocol, LabelReused, LabelTraffic}},
	{Exchanges, Counter, "HTTP exchanges, by what request and response agreed on about keeping the connection.", true, []string{LabelNegotiated, LabelTraffic}},
	{HandshakeSeconds, Histogram, "Handshake times: TCP from the first SYN to the client's ACK, TLS from the ClientHello to the client's first encrypted record.", true, []string{LabelKind}},
	{WastedHandshakes, Counter, "Handshakes that a client which keeps its connections, and a server that lets it, would not have needed, by the reason for which the connection that could have been used was not.", true, []string{LabelCause, LabelTraffic}},
	{WastedSeconds, Counter, "Time that the wasted handshakes took.", true, []string{LabelKind, LabelTraffic}},
	{NeededHandshakes, Counter, "Handshakes that the best of clients would have needed, too.", true, []string{LabelTraffic}},
	{Races, Counter, "Connections that ended because a request crossed the server's closing of them.", true, nil},
	{ReuseIdle, Histogram, "Time from a response's last byte to the next request's first byte on the same connection.", true, nil},
	{CloseIdle, Histogram, "Time from the last response's last byte to the first FIN or RST, by who sent it.", true, []string{LabelClosedBy}},
	{ObservedTimeout, Gauge, "Idle timeout that a side really applies: the median of its newest closings for idleness, where at least 5 of them fall within 10 % of it.", true, []string{LabelSide}},
	{AdvertisedTimeout, Gauge, "Newest Keep-Alive: timeout= of the server.", true, nil},
	{Unsolicited, Counter, "Responses with no request outstanding, such as an idle 408.", true, nil},

	{StaleReuses, Counter, "Connections that a request was sent on after the server's closing had arrived, counted by connection.", true, nil},
	{FailedRequests, Counter, "Requests that failed, each once, by the first way that holds.", true, []string{LabelHow}},
	{HandshakeAttempts, Counter, "Handshakes that were refused or never answered, and those that came about after their SYN was sent again.", true, []string{LabelResult}},
	{PathDrops, Counter, "Connections that something between the sides, or a side itself, had forgotten.", true, nil},
	{PathTimeout, Gauge, "Idle time after which the path forgets connections: the longest that one survived, the shortest that one did not.", true, []string{LabelBound}},
	{TLSConnections, Counter, "TLS connections, by whether they were decrypted, and why not.", true, []string{LabelKeys}},
	{Goaways, Counter, "HTTP/2 GOAWAY frames, the newest of each side of a connection, by who sent it and its error code.", true, []string{LabelBy, LabelCode}},
	{StreamsConcurrent, Histogram, "The most streams that were open at once on an HTTP/2 connection, when it ended.", true, nil},
	{StreamLimitReached, Counter, "Time that HTTP/2 connections stood at their server's limit of streams.", true, nil},
	{RefusedStreams, Counter, "HTTP/2 streams that the server said it had not processed.", true, nil},
	{GRPCErrors, Counter, "gRPC calls that did not end OK, by status.", true, []string{LabelCode}},

	{EstimatedRaces, Counter, "Races of connections whose requests are estimated; never part of keepalive_races_total.", true, nil},
	{EstimatedStaleReuses, Counter, "Stale reuses of connections whose requests are estimated; never part of stale_reuses_total.", true, nil},
	{EstimatedFailed, Counter, "Failed requests of connections whose requests are estimated; never part of failed_requests_total.", true, []string{LabelHow}},
	{EstimatedRequests, Counter, "Requests guessed from bursts of encrypted records, when their connection ended; never part of requests_total.", true, []string{LabelReused}},
	{EstimatedWasted, Counter, "Wasted handshakes of connections whose requests are estimated; never part of wasted_handshakes_total.", true, []string{LabelCause}},
	{EstimatedSeconds, Counter, "Time that the wasted handshakes of connections whose requests are estimated took.", true, []string{LabelKind}},
	{EstimatedNeeded, Counter, "Needed handshakes of connections whose requests are estimated.", true, nil},

	{CapturePackets, Counter, "Packets captured.", false, []string{LabelInterface}},
	{CaptureBytes, Counter, "Bytes of captured packets on the wire.", false, []string{LabelInterface}},
	{CaptureDropped, Counter, "Packets lost before they could be analysed: for want of room in the kernel's buffer, or by the interface or its driver. Every other figure lacks them.", false, []string{LabelInterface, LabelWhere}},
	{LastPacket, Gauge, "Time of the newest packet.", false, nil},
	{DecodeErrors, Counter, "Packets that could not be decoded, by the layer at which decoding stopped.", false, []string{LabelLayer}},

	{MissingBytes, Counter, "Bytes of TCP streams that were never captured.", false, nil},
	{OutOfOrderSegments, Counter, "TCP segments that came before their turn.", false, nil},
	{IncompleteConnections, Counter, "Connections that ended and lack bytes where they mattered.", false, nil},
	{EvictedConnections, Counter, "Connections given up because the table was full.", false, nil},
	{TrackedConnections, Gauge, "TCP connections tracked now, whatever they carry.", false, nil},
	{BufferedBytes, Gauge, "Bytes that wait for bytes before them.", false, nil},

	{StrayResets, Counter, "RSTs that no TCP would obey, or after which their side went on.", false, nil},
	{KeylogLines, Counter, "Lines of the key log, by what became of them.", false, []string{LabelKind}},
	{CapMet, Counter, "How often something was beyond one of Keepscope's caps, by the cap. Those that were never met are left out.", false, []string{LabelCap}},
	{ResettledReasons, Counter, "Reasons that a server's other connections showed to be others than the ones that were counted.", false, nil},

	{Servers, Gauge, "Values of the server label in use. At the limit, further servers are counted as other.", false, nil},
	{ServerLimit, Gauge, "Cap on the values of the server label (--max-servers).", false, nil},
	{LogLines, Counter, "Lines written to the log of connections, and events of connections that an OTLP endpoint took.", false, nil},
	{LogDropped, Counter, "Lines that the log of connections lost because its disk was slow or failed, and events that the OTLP endpoint did not take.", false, nil},
	{ReuseWindow, Gauge, "How long the ideal pool keeps an idle connection (--reuse-window).", false, nil},
	{BuildInfo, Gauge, "1, with what the program was built from.", false, []string{LabelVersion, LabelCommit, LabelGoVersion}},
}

// Directions are the values of LabelDirection.
var Directions = fact.Names(naming.NumDirections)

// Values returns every value of a label whose values are a closed set, nil for
// the others.
func Values(label string) []string {
	switch label {
	case LabelDirection:
		return Directions
	case LabelHandshake:
		return fact.Names(fact.HandshakeMidstream + 1)
	case LabelClosedBy:
		return fact.Names(fact.NumClosedBy)
	case LabelReason:
		return fact.Names(fact.NumReasons)[1:] // without ReasonNone
	case LabelProtocol:
		return protocols[:]
	case LabelReused:
		return fact.Names(fact.NumReuses)
	case LabelNegotiated:
		return fact.Names(fact.NumOutcomes)
	case LabelCause:
		return fact.Names(fact.NumCauses)[1:] // without NoCause
	case LabelTraffic:
		return traffics[:]
	case LabelKeys:
		return fact.Names(fact.NumKeys)
	case LabelHow:
		return fact.Names(fact.NumFailures)[1:] // without NotFailed
	case LabelSide, LabelBy:
		return sides
	case LabelWhere:
		return wheres[:]
	}
	return nil
}

var (
	protocols = [http.NumVersions]string{"unknown", "http/0.9", "http/1.0", "http/1.1", "h2"}
	sides     = fact.Names(tally.NumSides)
	traffics  = [...]string{"application", "probe"}
	wheres    = [...]string{"kernel", "interface"}

	handshakeKinds = [...]string{tally.HandshakeTCP: "tcp", tally.HandshakeTLSFull: "tls_full", tally.HandshakeTLSResumed: "tls_resumed"}
	costKinds      = [...]string{tally.CostTCP: "tcp", tally.CostTLS: "tls", tally.CostDNS: "dns", tally.CostConnect: "connect"}
)
