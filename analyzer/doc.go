// Package analyzer finds out how well connections are reused: it pairs HTTP
// messages into exchanges, says why each connection stopped being reusable, and
// judges which handshakes an ideal pool would not have needed.
//
// An [Analyzer] is the [reassembly.Handler] of one worker. It reads no clock: every
// time is that of a packet. What it finds it tells to each [fact.Observer], as soon as
// that is settled, in the words of package fact. Package run reads a capture with it.
//
// # Layers
//
// The bytes of a connection go through a list of layers, at most three deep. Each
// layer is one of HTTP/1, HTTP/2, TLS, or nothing that is read. What a layer carries is
// recognised by its first bytes, never by a port:
//
//	TCP bytes, behind a PROXY header     → HTTP/1 | HTTP/2 | TLS | nothing
//	TLS with keys (package tls)          → its plaintext is the next layer
//	TLS without keys                     → exchanges are estimated
//	HTTP/1, 101 to h2c                   → HTTP/2, the request being its stream 1
//	HTTP/1, 2xx to CONNECT               → the layer is recognised anew: a tunnel
//	HTTP/1, any other 101                → nothing: bytes are counted
//
// The readers are leaves (packages http1, http2, tls): bytes and gaps in, the events of
// package http out. They know neither TCP nor each other.
//
// # The ledger
//
// The ledger takes those events. It keeps the open exchanges of each connection by
// stream, decides outcome, reuse and idle time of each, and is the only caller of the
// ideal pool (package pool). It knows no framing. What it needs of TCP it asks of a
// transport: sequence numbers, closings, the time of the newest packet.
//
// # How a handshake is judged
//
// A pair is a client's address, a server's address and port, and what the client calls
// it: the SNI under TLS, the target of a tunnel, else the Host of the connection's first
// request. A PROXY header names the true client. Of each pair a pool is kept that a
// client would have which keeps its connections, towards a server that lets it:
//
//   - A slot is busy from a request's first byte to its response's last, and idle
//     afterwards, for Config.ReuseWindow and for as long as its connection is open. A
//     slot of HTTP/2 has room for as many streams as its server allows.
//   - A handshake is judged at its connection's first request, as of its SYN. Where a
//     slot was free since before the SYN it is wasted. Else it is needed.
//   - Not judged are connections joined in the middle, failed handshakes, connections
//     that carried no request, those whose first request was answered by an upgrade to
//     something else, and those of Config.SharedClients.
//
// Keep-alive effectiveness is reused requests / (reused requests + wasted handshakes).
//
// The cause of a wasted handshake is the reason of the connection that it replaces: of
// those of the pair that carried a request, the one that became unusable last before
// the SYN and was not replaced yet. Where there is none all were usable, and the client
// opened another: pool_miss.
//
// # Reasons
//
// Each connection has one reason why it could not be reused. The first that holds:
//
//	handshake_failed       the SYN was refused, or never answered
//	never_used             the client sent no request
//	not_http               it carried something that is no HTTP
//	upgraded               HTTP ended, for something that is not followed
//	path_dropped           a request on a used connection met silence, or the RST of a
//	                       host that knew of no connection (RFC 9293 §3.10.7.1)
//	client_close           the last answered exchange agreed on that (RFC 9112 §9.3)
//	http10_not_requested   "
//	http10_declined        "
//	no_length              "
//	server_error_close     the server said close, on a status of 400 or above
//	server_limit           it said close, after it had kept the connection before
//	server_close           it said close
//	race, stale_reuse      see below
//	goaway_error           HTTP/2: a GOAWAY with an error code
//	server_goaway          HTTP/2: a GOAWAY without one, less than 1 s after the last
//	client_goaway          stream, or while one was open
//	client_abort           that side closed with a request unanswered, or a response
//	server_abort           unfinished
//	client_discard         that side closed unannounced within 1 s of the last response
//	server_discard
//	client_idle            that side closed, or sent a GOAWAY, after idling for 1 s or
//	server_idle            more
//	not_captured           a side closed, and what may have announced it, or the request
//	                       itself, was not captured
//	timeout                no packet came for Config.IdleLimit
//	evicted                the table was full
//	open                   the capture ended
//
// A closing is a side's FIN, a RST that reaches the connection (see package
// reassembly), or TLS's close_notify once a FIN or RST followed it.
//
// # Races, stale reuse, failed requests
//
// Both are requests on a used connection which the server had not received when it
// closed: its closing acknowledges no byte of them. Where the two crossed on the wire it
// is a race: the request does not acknowledge the closing, or follows within 10 ms and the
// trip to the client. Nobody could have known. Else it is a stale reuse: the client had
// the closing, and did not look. Where a capture lacks the numbers, time decides.
//
// A request without a complete response has failed, in the first way that holds:
// refused_stream (the server did not process it: it may be sent again), path_dropped,
// close_ignored (the client had read that the connection would close), race,
// stale_reuse, client_abort, server_abort.
//
// # Keys that come late
//
// A connection of TLS may wait for its keys (package tls). Verdicts rest on what came
// before, so what the other TLS connections of its client and server say waits in line
// behind it, in the order of the capture. Keys change no verdict by coming late, but
// where a line meets its cap.
//
// # What is settled late
//
// A reason is final when the connection is over and 2 s of packet time have brought
// nothing more of it (package reassembly ends it then), or when the tracker gives it up.
// A handshake's cause is
// the reason of another connection, which may be open still. So a record of a wasted
// handshake waits for that, at most 5 s of packet time, and then says what is known.
// [Analyzer.Sweep] ends such waits, [Analyzer.Flush] all of them. What takes a view of
// all connections of a server, such as a reload that closes many at once, is no
// worker's to see: [fact.Connection.Unheard] marks the question for whoever can.
//
// # What is bounded
//
// [Analyzer.Limits] names every cap of this package and of its leaves, and says how
// often each was met.
//
//	what                            cap                      when full
//	requests awaiting a response    http1.MaxOutstanding     the request is told at once, without a response; the connection is incomplete
//	                                (1024 a connection)
//	the same, pipelined, in total   http1.MaxWaiting         the same
//	                                (262 144)
//	streams open at once            1024 a connection,       the oldest is told at once, without a response
//	                                Config.MaxHeaderBytes
//	                                in total
//	layers within each other        3                        what is inside is not read
//	bytes of cut header sections    Config.MaxHeaderBytes    that direction is read anew from the next message; the connection is incomplete
//	HPACK tables and cut blocks     Config.MaxHeaderBytes    names are unknown, counts go on
//	records that wait for keys      package tls              the connection is estimated
//	what waits behind them          64 KiB of the first,     nothing waits in line: verdicts are in the order of the keys
//	                                256 KiB of a pair,
//	                                2 MiB in all
//	handshakes that wait for a      16 384                   the oldest is told what is known
//	cause
//	pairs, slots and losses         Config.MaxConnections    one taken at random is forgotten (package pool)
//	reuse idle times listed         Config.MaxReuseIdle      further ones are counted only; estimated connections list 32 at least
//	gaps between pings              8 a connection           the oldest is forgotten
//	traces for drawings             Config.MaxTraced         a connection cannot be drawn
//	host names remembered           16 384, of 128 bytes     the table is emptied; names in use stay
//	names seen in DNS answers       package dns              the least recently used goes
//	spare parts of connections      1024 of a kind           given to the garbage collector
package analyzer
