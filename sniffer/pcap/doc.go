// Package pcap captures frames on live interfaces through libpcap. It is the
// only package that needs cgo.
//
// Libpcap opens the interface and compiles the filter; then its socket gets a
// ring of our own (TPACKET_V3), of blocks of frames that the kernel shares. A
// batch is a view of one block: nothing is copied, no call is made for it, and
// of a body of known length no byte is touched. The kernel has the block back
// once each batch that views it was given to Read again. A Source reads all its
// interfaces in one goroutine, and waits in the runtime's poller where none has
// a block: while a thread is blocked in a call, the runtime's monitor wakes
// thousands of times a second, which cost more than the reading.
//
// The kernel filters, and copies at most Config.Snaplen bytes of a frame. The
// default holds the largest frame that segmentation offload makes, so chunked
// bodies and long header sections are never cut. A body of known length is
// skipped by arithmetic: where all traffic is of that kind, a smaller snaplen
// copies less and loses nothing.
//
// A loopback interface shows each packet once, and the kernel is asked not to
// put the outgoing copies into the ring; on "any" they are left out after they
// went through the ring, so that drops of loopback count twice there.
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
//	block of a ring         · 1 MiB           · same       · the next one is filled
//	frames of a batch       · 256             · same       · the rest comes with the next Read
package pcap
