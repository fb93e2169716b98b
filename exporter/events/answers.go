package events

import (
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/fact"
)

// Whether a server's abort is a race can show when all of its connections have been
// seen ([fact.Connection].Unheard). A Sorter, whose lines are written at the end, keeps
// a line for each answer until then, so that lines say what the report says.

// Answers says of connections, by their id, whether they ended in a race. What is not
// in it was answered well when it was told.
type Answers map[uint64]bool

// A condition is that of a line which holds only for one answer.
type condition struct {
	id         uint64 // 0: it holds in any case
	race, told bool   // the answer, and the one that was told
}

// conditions are about the connection itself, and about the one that its handshake
// could have been saved with.
type conditions [2]condition

func (c *conditions) hold(answers Answers) bool {
	for _, one := range c {
		answer, known := answers[one.id]
		if !known {
			answer = one.told
		}
		if one.id != 0 && answer != one.race {
			return false
		}
	}
	return true
}

const (
	ifRace = 1 << iota
	ifTold
)

// put and get write and read 9 bytes for each condition.
func (c *conditions) put(b []byte) {
	for i, one := range c {
		binary.BigEndian.PutUint64(b[9*i:], one.id)
		b[9*i+8] = 0
		if one.race {
			b[9*i+8] |= ifRace
		}
		if one.told {
			b[9*i+8] |= ifTold
		}
	}
}

func (c *conditions) get(b []byte) {
	for i := range c {
		flags := b[9*i+8]
		c[i] = condition{binary.BigEndian.Uint64(b[9*i:]), flags&ifRace != 0, flags&ifTold != 0}
	}
}

// mayChange says whether the cause of a connection's handshake depends on the answer to
// another's question.
func mayChange(c *fact.Connection) bool {
	return c.CouldReuse != nil && (c.Cause == fact.Cause(fact.ReasonServerAbort) || c.Cause == fact.Cause(fact.ReasonRace))
}

var bothAnswers = []bool{false, true}

// answers adds a line for each answer.
func (s *Sorter) answers(told *fact.Connection) {
	c := *told
	c.Unheard = false
	var ifs conditions
	causes := func() { s.connection(&c, ifs) }
	if mayChange(told) {
		causes = func() {
			for _, race := range bothAnswers {
				ifs[1] = condition{c.CouldReuse.ID, race, told.Cause == fact.Cause(fact.ReasonRace)}
				c.AnswerCause(race)
				s.connection(&c, ifs)
			}
		}
	}
	if !told.Unheard {
		causes()
		return
	}
	for _, race := range bothAnswers {
		ifs[0] = condition{c.ID, race, told.Race}
		c.Answer(race)
		causes()
	}
}

func (s *Sorter) exchangeAnswers(told *fact.Exchange) {
	x := *told
	x.Unheard = false
	for _, race := range bothAnswers {
		x.Answer(race)
		s.exchange(&x, conditions{{x.Connection, race, false}})
	}
}
