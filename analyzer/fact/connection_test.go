package fact_test

import (
	"testing"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
)

// PINGs are blamed where there were some, and the server asked for calm.
func TestTooManyPings(t *testing.T) {
	for _, tc := range []struct {
		code  http.Code
		by    fact.ClosedBy
		pings uint32
		want  bool
	}{
		{http.EnhanceYourCalm, fact.ByServer, 2, true},
		{http.EnhanceYourCalm, fact.ByServer, 0, false},
		{http.EnhanceYourCalm, fact.ByClient, 2, false},
		{http.ProtocolError, fact.ByServer, 2, false},
	} {
		s := fact.Streams{Pings: [2]uint32{fact.ByClient: tc.pings}}
		s.Goaway[tc.by] = fact.Goaway{Seen: true, Code: tc.code}
		if got := s.TooManyPings(); got != tc.want {
			t.Errorf("%v by the %v after %d PINGs: %v", tc.code, tc.by, tc.pings, got)
		}
	}
}

// An answer changes what a connection is told as, and what its handshake is.
func TestAnswer(t *testing.T) {
	c := fact.Connection{Reason: fact.ReasonServerAbort, Unheard: true, Failed: [fact.NumFailures]uint32{fact.FailServerAbort: 1}}
	c.Answer(true)
	if c.Reason != fact.ReasonRace || !c.Race {
		t.Errorf("an abort that is a race is told as %v", c.Reason)
	}
	c = fact.Connection{Cause: fact.Cause(fact.ReasonServerAbort), CouldReuse: &fact.CouldReuse{Reason: fact.ReasonServerAbort}}
	c.AnswerCause(true)
	if c.Cause != fact.Cause(fact.ReasonRace) || c.CouldReuse.Reason != fact.ReasonRace {
		t.Errorf("what replaces it is told as wasted by %v", c.Cause)
	}
}
