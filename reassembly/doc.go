// Package reassembly turns one worker's TCP segments into ordered bytes, gaps
// and ends per connection.
//
// An [Assembler] takes segments in order of capture ([Assembler.Process], or many
// at once, [Assembler.ProcessAll]) and tells a [Handler]. Bytes that come in order
// are handed on in place; early ones are copied to pages; of several copies of a
// byte the first wins. It works with one direction only, from the middle of
// connections, and at any place of the sequence wrap.
//
// # Connections
//
// A connection begins with any segment of a 4-tuple that is not known. A SYN
// that fits what was seen before it joins the connection. A first lone byte, of
// a direction whose SYN was not seen, is taken for a keep-alive probe and never
// enters the stream. A direction belongs to the interface on which it was first
// seen.
//
// An Assembler believes no more than a TCP stack does:
//
//	segment                             · counts
//	RST that answers a SYN              · where it acknowledges the SYN (RFC 9293 §3.10.7.3)
//	RST with the next number            · at once; with bytes missing, what the peer acknowledged or the end of what waits is next, too
//	RST elsewhere in the window         · with its own time, after 2 s without more of its side, or at a new SYN (RFC 5961 §3.2)
//	RST far off, or of a stale ACK      · never: StrayResets
//	SYN with another number             · at once on a closed connection, else when a SYN-ACK or RST answers it or its data follow
//	SYN-ACK with another number         · if the client acknowledges it
//	bare ACK that answers no SYN        · never: StaleACKs (half-open discovery, RFC 9293 §3.5.1)
//	FIN in front of bytes seen before   · never: Invalid
//
// Where a RST was believed and its side sends more all the same, or its peer
// acknowledges more, what follows is a new connection, joined in the middle of
// the stream ([Conn.Resumed]).
//
// Both FINs delivered, a refused SYN, or a FIN answered by a RST end a
// connection at once; after any other RST, and where the SYN-ACK was captured
// without its SYN, it ends by a silence, so that bytes still in flight, or the
// SYN, find it. What comes later for the 4-tuple is absorbed, except a SYN with
// another number, or bytes more than 16 MiB behind or 1 MiB ahead.
//
// # Gaps
//
// A hole is declared lost when the peer acknowledges past it with something
// waiting behind it; when bytes come behind a hole that was acknowledged 10 ms
// earlier or more; when it was waited for long enough; at a cap; and at the
// end. What was acknowledged, but neither captured nor followed by anything, is
// lost at the end, and known at once ([Conn.Behind], [UnseenHandler]); one lone
// number there is a FIN's. Lost bytes that come after all, and bytes that a
// snaplen cut and a retransmission repeats, are dropped.
//
// A segment more than 16 MiB off is garbage, or an attack: it is counted and
// dropped. Three that follow on each other there are the stream: ahead, what
// lies between is skipped, and not called missing; behind, or behind a FIN, a
// new connection begins whose SYN was not captured.
//
// # Facts
//
// A [Conn] tells, beside bytes and packets, what the words of a connection's
// story rest on: numbers and acknowledgments of its closings ([Conn.Closing])
// and of its bytes ([Conn.Position], [Conn.Acknowledges], [Conn.Acked]); its
// SYNs and SYN-ACK ([Conn.SYNs], [Conn.SYNACK]); data that was repeated and that
// nobody answered ([Conn.Unanswered]); keep-alive probes ([Conn.Probes]); and
// windows that stood at zero ([Conn.Stall]).
//
// # Time
//
// Time is the packets'. A deadline is judged by the connection's own packets,
// before they move its clock; [Assembler.Sweep] only collects sooner, and what
// each connection tells does not depend on when it is called, as long as no
// packet is older than what Sweep was told by more than 2 s (60 s for the idle
// limit). A [Clock] mends the times of captures that do not keep to that. Caps
// in total, and how many closed connections are remembered, are an Assembler's
// own: sharing traffic out among several changes what happens there, and only
// there.
//
// # Caps
//
//	what                       · cap                     · default   · when full                                          · counted as
//	connections                · MaxConnections          · 262 144   · one goes: overdue, else one that carries nothing,  · Evicted, EvictedHalfOpen
//	                           ·                         ·           · else the longest silent of 32                      ·
//	newest connections         · 1 024 IDs               · same      · the oldest is not looked at when one must go       ·
//	out-of-order, a direction  · MaxBufferedPerDirection · 1 MiB     · its first hole is declared lost                    · MissingBytes
//	out-of-order, in total     · MaxBuffered             · 16 MiB    · the oldest hole of all is                          · HolesGivenUp
//	closed 4-tuples            · MaxClosed               · 16 384    · the oldest 32 (a 64th of fewer) are forgotten      ·
//	cold state                 · one per connection      · 240 bytes · (a hole, cut bytes, a closing or a repeated SYN)   ·
//	doubts                     · one per cold state      · 136 bytes · 1 RST a direction, 1 SYN, 3 SYN-ACKs               · StrayResets, StraySYNs
//	windows at zero            · one per cold state      · 64 bytes  ·                                                    ·
//	keep-alive probes          · one per cold state      · 208 bytes · the oldest of 8 gaps is forgotten                  ·
//	free pages, free queues    · 512 of each             · same      · left to the garbage collector                      ·
//	free cold state            · 2 048                   · same      · left to the garbage collector                      ·
//	silence                    · IdleTimeout             · 10 min    · the connection ends, EndTimeout                    · TimedOut
//	silence after SYNs alone   · SYNTimeout              · 130 s     · the connection ends, EndTimeout                    · TimedOut
//	age of a hole              · GapWait                 · 10 s      · declared lost                                      · MissingBytes
//	silence after a RST        · ResetLinger             · 2 s       · the connection ends, EndClosed                     ·
//	silence after the end      · ClosedLinger            · 2 min     · forgotten: later segments begin a connection       ·
//
// The caps on bytes count pages of 2 KiB, so that they bound memory: small
// early segments that do not join take a page each, and are found among 512 of
// them in 9 steps. The defaults of GapWait and ClosedLinger outlast usual
// retransmission timeouts (RFC 6298), that of SYNTimeout the longest wait for the answer
// to a SYN, 120 s.
//
// # Cost
//
// BenchmarkProcess has the CPU time per segment, making the segment included.
// No allocation per segment. 100 000 open connections take 14.8 MiB (TestMemory),
// 16 384 closed ones 1 MiB; peaks are given back.
package reassembly
