// Package analyzer pairs HTTP messages into exchanges on TCP connections, says
// why each connection stopped being reusable, and judges which handshakes an
// ideal pool would not have needed.
//
// An [Analyzer] is the [reassembly.Handler] of one worker. It keeps one record
// per tracked connection, in a table indexed by [reassembly.Conn.ID], and tells
// each [Observer] what it finds, a batch of packets at a time. It reads no clock:
// every time is that of a packet. A [Reader] takes a [sniffer.Source] through one
// or more workers; the facts are the same for any number of them.
//
// # What is bounded
//
//	what                            cap                      when full
//	requests awaiting a response    maxOutstanding (1024)    further ones are told at once, without a response; the connection is incomplete
//	the same, pipelined, in total   maxQueued (262 144)      the same
//	reuse idle times listed         Config.MaxReuseIdle      further ones are counted only; encrypted connections list 32 at least
//	bytes of cut header sections    Config.MaxHeaderBytes    that direction is parsed anew from the next message; the connection is incomplete
//	host names remembered           maxNames (16384)         the table is emptied; names in use stay
//	pairs and slots of the pools    package pool             a pair not used lately goes
//	names seen in DNS answers       package dns              the least recently used goes
//	facts that wait to be told      outboxSize (32 a kind)   all are told before the batch ends
package analyzer
