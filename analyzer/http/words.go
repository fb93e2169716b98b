package http

// A Version is that of a message's start line, or of the connection.
type Version uint8

// The versions. HTTP/1.2 to 1.9 count as HTTP/1.1 (RFC 9110 §2.5).
const (
	VersionUnknown Version = iota
	HTTP09
	HTTP10
	HTTP11
	HTTP2
	NumVersions
)

var versionNames = [NumVersions]string{
	VersionUnknown: "", HTTP09: "HTTP/0.9", HTTP10: "HTTP/1.0", HTTP11: "HTTP/1.1", HTTP2: "HTTP/2",
}

// String returns the version as a start line has it, such as "HTTP/1.1"; "" where
// it is not known.
func (v Version) String() string { return name(versionNames[:], v) }

// Tokens is a set of the connection options that matter (RFC 9110 §7.6.1).
type Tokens uint8

// The options.
const (
	Close Tokens = 1 << iota
	KeepAlive
	Upgrade
)

// A Method is a request method, folded to a closed set.
type Method uint8

// The methods (RFC 9110 §9, RFC 5789); any other token is Other.
const (
	Other Method = iota
	GET
	HEAD
	POST
	PUT
	DELETE
	CONNECT
	OPTIONS
	TRACE
	PATCH
	NumMethods
)

var methodNames = [NumMethods]string{
	Other: "OTHER", GET: "GET", HEAD: "HEAD", POST: "POST", PUT: "PUT", DELETE: "DELETE",
	CONNECT: "CONNECT", OPTIONS: "OPTIONS", TRACE: "TRACE", PATCH: "PATCH",
}

// String returns the method's token, or "OTHER".
func (m Method) String() string { return name(methodNames[:], m) }

// MethodOf returns the method that a token names.
func MethodOf(token []byte) Method {
	switch string(token) {
	case "GET":
		return GET
	case "HEAD":
		return HEAD
	case "POST":
		return POST
	case "PUT":
		return PUT
	case "DELETE":
		return DELETE
	case "CONNECT":
		return CONNECT
	case "OPTIONS":
		return OPTIONS
	case "TRACE":
		return TRACE
	case "PATCH":
		return PATCH
	}
	return Other
}

// A Code is an error code of HTTP/2 (RFC 9113 §7). A code that it does not define
// is treated as INTERNAL_ERROR there, and kept as it is here.
type Code uint32

// The codes.
const (
	NoError Code = iota
	ProtocolError
	InternalError
	FlowControlError
	SettingsTimeout
	StreamClosed
	FrameSizeError
	RefusedStream
	Cancel
	CompressionError
	ConnectError
	EnhanceYourCalm
	InadequateSecurity
	HTTP11Required
	NumCodes
)

var codeNames = [NumCodes]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String returns the code's name in RFC 9113 §7, "UNKNOWN" where it has none.
func (c Code) String() string {
	if c < NumCodes {
		return codeNames[c]
	}
	return "UNKNOWN"
}

// A GRPCStatus is the outcome of a gRPC call.
type GRPCStatus uint8

// The statuses that decide something; the others are numbered as in gRPC's
// statuscodes document.
const (
	GRPCOK          GRPCStatus = 0
	GRPCUnknown     GRPCStatus = 2
	NumGRPCStatuses            = 17
)

var grpcStatusNames = [NumGRPCStatuses]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// String returns the status' name, such as "UNAVAILABLE".
func (s GRPCStatus) String() string { return name(grpcStatusNames[:], s) }

func name[E ~uint8](names []string, e E) string {
	if int(e) < len(names) {
		return names[e]
	}
	return "unknown"
}
