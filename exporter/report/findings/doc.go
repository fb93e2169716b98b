// Package findings says what to change: a sentence that a person can act on, with
// the figures that say so, whose setting it is, what it would save and one example.
//
// It is given figures and knows no traffic: the tally counts, this package weighs. A
// habit that two softwares show in the same way on the wire is told as both.
//
// There is one entry a code. The servers where it holds stand beneath, the worst first,
// and entries are ordered by the seconds that they lost, a failed request counting as
// one, then by the handshakes that were wasted.
//
// # Caps
//
//	what                              cap              when beyond
//	clients named of a server         MaxClients       the others are counted in the figures
//	softwares that advice names       maxSoftware      those of the worst servers and clients count
//	wasted handshakes explained       maxExplained     "and n more"
//
// All else is as long as the list of servers that it is given.
package findings
