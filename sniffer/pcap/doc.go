// Package pcap captures frames on live interfaces through libpcap. It is the
// only package that needs cgo.
//
// A Source reads all its interfaces in one goroutine: one call into C fills a
// whole batch, by pcap_dispatch on each interface that has packets, and waits
// in poll where none has. So a call into C is paid once a batch, not once a
// packet; libpcap itself reads a TPACKET_V3 ring.
//
// The kernel filters, and copies at most Config.Snaplen bytes of a frame. The
// default holds the largest frame that segmentation offload makes, so chunked
// bodies and long header sections are never cut. A body of known length is
// skipped by arithmetic: where all traffic is of that kind, a smaller snaplen
// copies less and loses nothing.
//
// A loopback interface shows each packet once, and the kernel is asked not to
// put the outgoing copies into the ring; on "any" libpcap takes them out after
// they went through the ring, so that drops of loopback count twice there.
//
// An interface that is down is waited for. One that disappears is an
// InterfaceError; Reopen then binds the same socket, with its ring and filter,
// to the next interface of that name, which takes no rights.
//
// # Caps
//
//	what                    · cap             · default    · when full
//	interfaces              · 64              · none       · Open fails
//	bytes kept of a frame   · 256 KiB         · 64.5 KiB   · the rest is cut, Frame.Length tells
//	ring of an interface    · Config.Buffer   · 64 MiB     · the kernel drops, Drops tells
//	frames of a batch       · 256             · same       · the rest comes with the next Read
//	buffer of a batch       · 1 MiB           · same       · the rest comes with the next Read
package pcap
