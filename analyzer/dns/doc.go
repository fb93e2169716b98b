// Package dns reads the DNS messages by which clients look up the servers that
// they then connect to (RFC 1035), and remembers what they found: the name of
// each server, and the time that the look-up took. No IO, no clock.
//
// # What counts as the look-up made for a connection
//
// A client asks for the A or AAAA records of a name; the answer, from the same
// address and port and with the same id and name, holds the server's address;
// the client then connects to an address of the answer within 10 s. The first
// such connection to each address is given the cost of the look-up, every other
// none: which of several the client will use is not known at their SYNs (RFC 8305
// §5), and connections to another address may be another worker's.
//
//   - The cost runs from the query to the answer that holds the address. A
//     repeated query (same id and port) does not start it anew.
//   - Queries of one client for one name within 100 ms are one look-up, as when A
//     and AAAA are asked for together (RFC 8305 §3): it starts with the first of
//     them, whichever answer held the address.
//   - With a search list, the names that do not exist are look-ups of their own
//     and not part of the cost.
//   - Addresses count for the name that was asked for, whatever CNAMEs are
//     between, and only at the end of that chain.
//
// The name stays known for later connections of that client to that address,
// beyond the TTL, as connections outlive it too: until another answer to the
// same client names the address otherwise, or until it has to go from a full
// table. There a name that a connection has used outlasts those that none has,
// so that a flood of look-ups takes none in use. Answers to which no query was
// seen are not believed, nor even read.
//
// Look-ups by DNS over TCP, TLS, HTTPS or QUIC are not seen, and a stub resolver on
// the client's host asks under its own address.
//
// # Caps
//
//	what                      cap      default  when full
//	names known               Config   65536    the oldest that no connection used is forgotten; where few are such, the idlest
//	queries outstanding       Config   4096     the oldest is forgotten: its answer is not believed
//	look-ups being timed      Config   4096     the oldest is forgotten: A and AAAA may be timed apart
//	addresses of an answer    64                the rest is left out
//	records read of an answer 256               the rest is left out
//	CNAMEs of an answer       16                the rest is left out: it may have no addresses then
//	name bytes read of it     2048              the rest is left out
//	pointers in a name        32               the message is malformed
//	a name                    253 bytes         the message is malformed (RFC 1035 §2.3.4)
//
// Stats counts what was forgotten. A name known takes about 250 bytes, so the
// default is at most 16 MiB.
//
// # Cost
//
// An answer that nobody asked for costs reading its question. Of one that was
// asked for, the steps are bounded, whatever the server writes (RFC 1035 §4.1.4
// allows names through pointers, records in any order, and chains): TestSteps
// holds the bound, and BenchmarkAnswer compares the worst with an ordinary one.
package dns
