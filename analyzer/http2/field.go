package http2

import "github.com/keepscope/keepscope/analyzer/http"

// A name is that of a field, as far as it matters.
type name uint8

const (
	otherName   name = iota
	otherPseudo      // :path and :scheme, or any that is not known
	methodName
	statusName
	authorityName
	protocolName
	hostName
	contentTypeName
	grpcStatusName
	forwardedName // Forwarded, or X-Forwarded-For
	agentName
	serverName
	viaName
)

const (
	longestName = len("x-forwarded-for") // of those that are read
	maxValue    = 512                    // bytes of a value that are read
)

// read has the bits of the names whose values are read of what each side sends.
var read = [2]uint16{
	http.Client: 1<<methodName | 1<<authorityName | 1<<protocolName | 1<<hostName | 1<<contentTypeName | 1<<forwardedName | 1<<agentName | 1<<viaName,
	http.Server: 1<<statusName | 1<<grpcStatusName | 1<<serverName | 1<<viaName,
}

// isText reports whether values are handed on as they are.
func (n name) isText() bool {
	return n == authorityName || n == hostName || n >= agentName
}

// unread returns what a name is to a side that its values are not read of.
func (n name) unread() name {
	switch n {
	case otherName, hostName, contentTypeName, grpcStatusName, forwardedName, agentName, serverName, viaName:
		return otherName
	}
	return otherPseudo
}

func nameOf(b []byte) name {
	switch string(b) {
	case ":method":
		return methodName
	case ":status":
		return statusName
	case ":authority":
		return authorityName
	case ":protocol":
		return protocolName
	case "host":
		return hostName
	case "content-type":
		return contentTypeName
	case "grpc-status":
		return grpcStatusName
	case "forwarded", "x-forwarded-for":
		return forwardedName
	case "user-agent":
		return agentName
	case "server":
		return serverName
	case "via":
		return viaName
	}
	if len(b) > 0 && b[0] == ':' {
		return otherPseudo
	}
	return otherName
}

// number returns what is kept of a value that is no text.
func (n name) number(value []byte) uint32 {
	switch n {
	case methodName:
		return uint32(http.MethodOf(value))
	case statusName:
		return uint32(status(value))
	case contentTypeName:
		const grpc = "application/grpc"
		if len(value) >= len(grpc) && string(value[:len(grpc)]) == grpc {
			return 1
		}
	case grpcStatusName:
		return uint32(grpcStatus(value))
	}
	return 0
}

// status reads three digits; 0 where the value is something else.
func status(b []byte) (code uint16) {
	if len(b) != 3 {
		return 0
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0
		}
		code = code*10 + uint16(c-'0')
	}
	return code
}

// grpcStatus reads a status code; what is none counts as UNKNOWN, as it does in
// gRPC's implementations.
func grpcStatus(b []byte) http.GRPCStatus {
	code := 0
	if len(b) == 0 || len(b) > 2 {
		return http.GRPCUnknown
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return http.GRPCUnknown
		}
		code = code*10 + int(c-'0')
	}
	if code >= http.NumGRPCStatuses {
		return http.GRPCUnknown
	}
	return http.GRPCStatus(code)
}

// A static is an entry of the static table.
type static struct {
	name   name
	length uint8  // of the name
	number uint32 // of the value
}

// staticTable is RFC 7541 Appendix A, from index 1.
var staticTable = newStaticTable([]string{
	":authority", "", ":method", "GET", ":method", "POST", ":path", "/", ":path", "/index.html",
	":scheme", "http", ":scheme", "https", ":status", "200", ":status", "204", ":status", "206",
	":status", "304", ":status", "400", ":status", "404", ":status", "500", "accept-charset", "",
	"accept-encoding", "gzip, deflate", "accept-language", "", "accept-ranges", "", "accept", "",
	"access-control-allow-origin", "", "age", "", "allow", "", "authorization", "", "cache-control", "",
	"content-disposition", "", "content-encoding", "", "content-language", "", "content-length", "",
	"content-location", "", "content-range", "", "content-type", "", "cookie", "", "date", "", "etag", "",
	"expect", "", "expires", "", "from", "", "host", "", "if-match", "", "if-modified-since", "",
	"if-none-match", "", "if-range", "", "if-unmodified-since", "", "last-modified", "", "link", "",
	"location", "", "max-forwards", "", "proxy-authenticate", "", "proxy-authorization", "", "range", "",
	"referer", "", "refresh", "", "retry-after", "", "server", "", "set-cookie", "",
	"strict-transport-security", "", "transfer-encoding", "", "user-agent", "", "vary", "", "via", "",
	"www-authenticate", "",
})

const numStatic = 61

func newStaticTable(fields []string) (t [numStatic + 1]static) {
	for i := range numStatic {
		field, value := fields[2*i], fields[2*i+1]
		n := nameOf([]byte(field))
		t[i+1] = static{n, uint8(len(field)), n.number([]byte(value))}
	}
	return t
}
