// Package http1 finds the messages of HTTP/0.9, 1.0 and 1.1 in a stream of
// bytes (RFC 9112): heads and ends out, no IO, no time, no TCP.
//
// A Parser reads one direction of a connection. It is given segments, of any
// size, and gaps, and reports one event at a time; call Next until it answers
// NeedMore. Up to the first Lost the events do not depend on how the stream is cut.
// A head that lies in one segment is read in place; of a head that is cut, only
// what its lines said and the line in progress are kept. Bodies are skipped by
// arithmetic.
//
// # Framing
//
// RFC 9112 §6.3 in its order. Where it leaves an observer a choice:
//   - a request whose Content-Length is invalid or contradicts itself, or whose last
//     transfer coding is not chunked, has Framing Unframed: its Head counts, then Lost.
//     A response like that is UntilClose: the recipient has to close.
//   - "Content-Length: 5, 5", and the same in two lines, is 5.
//   - Transfer-Encoding counts on HTTP/1.0 too: senders that say so do so. The
//     coding "identity", of RFC 2616, is as if absent.
//   - a body whose last chunk was seen is complete when FIN cuts its trailers (§8).
//   - white space before a field's colon is tolerated, and so are bare LF,
//     blank lines before a message, padding of chunk sizes, and white space
//     within a request target.
//
// # Recognition
//
// By content. A request line ends in HTTP/0.x or HTTP/1.x, or is "GET" with a target that
// begins with "/" or "http://" and has no version (HTTP/0.9); a status line
// begins with HTTP/0.x or HTTP/1.x and three digits. A line that begins with a known
// method and is none of that, nor of a protocol with such methods (RTSP, SIP), is a
// Malformed request: its Head counts, then Lost. Anything else is Lost, and so is
// the rest of that segment. A later segment that begins with a status line of
// HTTP/1.x, or with a request line (without its end: with a known method),
// ends that.
//
// # Caps
//
//	what                                     cap         default   when full
//	a head, start line to empty line         MaxHead     256 KiB   Lost
//	a trailer section                        MaxHead     256 KiB   Lost
//	a chunk's size line with extensions      fixed       16 KiB    Lost
//	a method's token                         fixed       64 bytes  Lost
//	a chunk's size                           64 bits               Lost
//	a body's length                          63 bits               as an invalid one
//	User-Agent and Server, and Via's end     MaxName     160 bytes what is beyond is left out
//	buffers for cut heads, of all Parsers    Pool.Max    16 MiB    Lost, counted in Pool.Full
//	spare partial heads in a Pool            fixed       64        given to the garbage collector
//
// # Cost
//
// A Parser has 32 bytes. Nothing is allocated once a Pool has buffers. By this
// package's benchmarks, the least of 25 interleaved runs on a busy machine, a request
// with seven fields (300 bytes) takes 1/29 of the time of net/http.ReadRequest,
// a response with nine fields and its body 1/19 of net/http.ReadResponse's.
package http1

const (
	// MaxHead is the longest head, from its start line to its empty line, and the
	// longest trailer section, in bytes.
	MaxHead = 256 << 10

	// DefaultPool is the most bytes that a Pool holds where Max is 0.
	DefaultPool = 16 << 20

	maxChunkLine = 16 << 10 // a chunk's size line, with its extensions
	maxMethod    = 64       // a method's token
)
