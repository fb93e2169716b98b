// Package sniffertest turns a written conversation into segments, frames or a
// capture file, for any package's tests.
//
// A [Script] is what was said on the wire. [Parse] reads one from text; the
// methods of Script and [Conn] build one in Go. Sequence and acknowledgment
// numbers, flags and checksums follow from it. The same Script then comes as
// [Script.Segments] (what a decoder yields), as [Script.Frames] (bytes of any
// link type), as a pcap or pcapng file, and, through [Script.WithMSS], cut into
// segments of another size: one text, every mode of a test.
//
// # The text
//
// One directive a line; blank lines and what follows a # outside of quotes are
// skipped; a \ at the end of a line continues it.
//
//	conn c1 10.0.0.1:40000 10.0.0.2:80
//	@0s    c1 handshake rtt=1ms
//	@10ms  c1 > "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
//	@12ms  c1 < "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" "x"*1000
//	@+5ms  c1 > close
//
// # Connections
//
//	conn NAME CLIENT SERVER [isn=C,S] [mss=N] [win=N] [if=N]
//
// declares a connection before its first use; CLIENT and SERVER are address and
// port, 10.0.0.1:80 or [2001:db8::1]:80. A second conn of the same addresses
// and another name is another incarnation of the 4-tuple.
//
//	isn=C,S  initial sequence numbers of client and server, default 1000,5000000
//	mss=N    cut longer messages into segments of at most N bytes; without it,
//	         and at most, 65000
//	win=N    window that is announced, default 64240
//	if=N     number of the interface that captures it, default 0
//
// # Times
//
// @DURATION is a time since [Base], in the syntax of time.ParseDuration;
// @+DURATION one since the line before; a line without is at the time of the
// line before. Packets are captured in the order of lines, not of times: a
// time may go back. A message that is cut into segments has one time.
//
// # Packets
//
//	[@TIME] NAME > ITEM...    the client sends
//	[@TIME] NAME < ITEM...    the server sends
//
// Each line is a message: one segment, or as many as mss asks for. Its items,
// in any order:
//
//	"text", `text`      payload, a Go string literal; several are joined
//	"text"*N            payload, N times over
//	hex:0d0a            payload in hexadecimal
//	syn fin rst psh urg a flag. PSH is set on payload by itself; fin and rst go
//	                    on the last segment. A fin takes a sequence number.
//	ack                 nothing but an acknowledgment; with syn, the flag ACK
//	noack               leaves the flag ACK off; without this or syn it is on
//	seq=N               place of the payload in its stream, 0 the first byte;
//	                    without it, after all that the side has sent. Sends out
//	                    of order, overlaps, retransmits parts; may be negative.
//	ack=N               how much of the peer's stream is acknowledged; without
//	                    it, all that the peer has sent, gaps included
//	win=N, if=N, mss=N  as for conn, for this line
//	cap=N               the capture holds only the first N payload bytes of each
//	                    segment: a snaplen
//
// In place of items, one of
//
//	gap N               N bytes are sent but never captured
//	dup                 what the side sent last is sent again, byte for byte
//	probe [DATA]        a keep-alive probe: the sequence number before the next,
//	                    without data or with the given garbage byte
//	close [rtt=D]       the side closes in good order: its FIN, the peer's after
//	                    half of D (default 1ms), its ACK after D
//
// # Shorthands
//
//	NAME syn                 NAME > syn
//	NAME synack              NAME < syn ack
//	NAME ack                 NAME > ack
//	NAME handshake [rtt=D]   the three, the SYN-ACK after half of D (default
//	                         1ms), the ACK after D; the next line's @+ and
//	                         missing time count from that ACK, as after close
//
// A RST of a side that has sent nothing answers the peer's SYN with sequence
// number 0, as stacks do (RFC 9293 §3.10.7.1).
//
// # DNS
//
//	[@TIME] dns CLIENT RESOLVER query NAME [type=T] [id=N] [if=N]
//	[@TIME] dns CLIENT RESOLVER answer NAME [ADDRESS...] [cname=N] [rcode=N] [ttl=N] [type=T] [id=N] [if=N]
//
// CLIENT and RESOLVER are addresses with or without port (defaults 40053 and
// 53); T is A, AAAA, HTTPS or a number, by default what the addresses are, else
// A; id is 1, ttl 60 s, rcode 0 by default. An answer with a cname gives the
// addresses to that name.
package sniffertest
