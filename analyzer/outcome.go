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
	case q.tokens&http.Close != 0:
		return fact.ClientClose
	case q.version == http.HTTP09,
		q.version == http.HTTP10 && q.tokens&http.KeepAlive == 0:
		return fact.HTTP10NotRequested
	case m.Connection&http.Close != 0:
		return fact.ServerClose
	case q.version == http.HTTP10 && m.Connection&http.KeepAlive == 0:
		return fact.HTTP10Declined
	case m.UntilClose:
		return fact.NoLength
	case m.Version == http.HTTP10 && m.Connection&http.KeepAlive == 0:
		return fact.HTTP10Declined // whatever the request's version
	}
	return fact.KeepAlive
}

// announced returns the reason for which a connection can't be reused after an
// exchange of this outcome. It holds for the outcomes that end reuse;
// status is the response's and kept how many exchanges before negotiated
// keep-alive.
func announced(o fact.Outcome, status uint16, kept uint32) fact.Reason {
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
	}
	switch {
	case status >= 400:
		return fact.ReasonServerErrorClose
	case kept > 0:
		return fact.ReasonServerLimit
	}
	return fact.ReasonServerClose
}
