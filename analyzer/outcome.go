package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
)

// negotiate says what a request and its final response agreed on about
// keep-alive (RFC 9112 §9.3 and appendix C.2.2); the first rule that holds.
func negotiate(q *exchange, m *http.Head) fact.Outcome {
	switch {
	case m.EndsHTTP:
		return fact.Upgraded
	case q.version == http.HTTP2: // its connection persists whatever a response says (RFC 9113 §8.2.2)
		return fact.KeepAlive
	case q.partial || m.Partial:
		return fact.UnknownOutcome
	case q.tokens&http.Close != 0:
		return fact.ClientClose
	case q.version == http.HTTP09,
		q.version == http.HTTP10 && q.tokens&http.KeepAlive == 0:
		return fact.HTTP10NotRequested
	case q.version == http.HTTP10 && (m.Connection&http.Close != 0 || m.Connection&http.KeepAlive == 0):
		return fact.HTTP10Declined
	case m.Connection&http.Close != 0:
		return fact.ServerClose
	case m.Version == http.HTTP10 && m.Connection&http.KeepAlive == 0:
		return fact.HTTP10Declined // whatever the request's version
	case m.UntilClose:
		return fact.NoLength
	}
	return fact.KeepAlive
}

// announced returns the reason for which a connection can't be reused after an
// exchange of this outcome. It holds for the outcomes that end reuse;
// status is the response's, and kept says that an exchange before negotiated keep-alive.
func announced(o fact.Outcome, status uint16, kept bool) fact.Reason {
	switch o {
	case fact.Upgraded:
		return fact.ReasonUpgraded
	case fact.ClientClose:
		return fact.ReasonClientClose
	case fact.HTTP10NotRequested:
		return fact.ReasonHTTP10NotRequested
	case fact.HTTP10Declined:
		return fact.ReasonHTTP10Declined
	case fact.NoLength:
		return fact.ReasonNoLength
	default: // the server said close
	}
	switch {
	case status >= 400:
		return fact.ReasonServerErrorClose
	case kept:
		return fact.ReasonServerLimit
	}
	return fact.ReasonServerClose
}
