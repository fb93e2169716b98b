package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http1"
)

// negotiate says what a request and its final response agreed on about
// keep-alive (RFC 9112 §9.3 and appendix C.2.2); the first rule that holds.
func negotiate(q *pending, m *http1.Message) Outcome {
	switch {
	case m.Framing == http1.Tunnel:
		return Upgraded
	case q.tokens&http.Close != 0:
		return ClientClose
	case q.version == http.HTTP09,
		q.version == http.HTTP10 && q.tokens&http.KeepAlive == 0:
		return HTTP10NotRequested
	case m.Connection&http.Close != 0:
		return ServerClose
	case q.version == http.HTTP10 && m.Connection&http.KeepAlive == 0:
		return HTTP10Declined
	case m.Framing == http1.UntilClose:
		return NoLength
	case m.Version == http.HTTP10 && m.Connection&http.KeepAlive == 0:
		return HTTP10Declined // whatever the request's version
	}
	return KeepAlive
}

// announced returns the reason for which a connection can't be reused after an
// exchange of this outcome. It holds for the outcomes that end reuse;
// status is the response's and kept how many exchanges before negotiated
// keep-alive.
func announced(o Outcome, status uint16, kept uint32) Reason {
	switch o {
	case Upgraded:
		return ReasonUpgraded
	case ClientClose:
		return ReasonClientClose
	case HTTP10NotRequested:
		return ReasonHTTP10NotRequested
	case HTTP10Declined:
		return ReasonHTTP10Declined
	case NoLength:
		return ReasonNoLength
	}
	switch {
	case status >= 400:
		return ReasonServerErrorClose
	case kept > 0:
		return ReasonServerLimit
	}
	return ReasonServerClose
}
