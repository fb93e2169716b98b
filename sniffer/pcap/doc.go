// Package pcap captures frames on live interfaces through libpcap. It is the
// only package that needs cgo.
//
// Libpcap opens the interface and compiles the filter; then its socket gets a
// ring of our own (TPACKET_V3), of blocks of frames that the kernel shares. A
// batch is a view of one block: nothing is copied, no call is made for it, and
// the rest of a body of known length stays out of the processor's cache. The
// kernel has the block back once each batch that views it was given to Read
// again. Whoever holds several batches at once, for several workers, asks for
// copies instead (Config.Copy): few frames in each would keep all blocks.
//
// A Source reads all its interfaces in one goroutine, and waits in the runtime's
// poller where none has a block: while a thread is blocked in a call, the
// runtime's monitor wakes more than a thousand times a second, which cost a sixth
// of all.
//
// The kernel filters, and copies at most Config.Snaplen bytes of a frame. The
// default holds the largest frame that segmentation offload makes, and is the
// only one that keeps every count: where a message begins within a segment, and
// how chunks follow each other, is told by the bytes before. The kernel's filter
// keeps no state, and what keeps it takes more rights than to capture. Where
// every header section is short and every body has a length that is known, a
// smaller snaplen loses nothing but where many requests are pipelined. Of 2000
// requests, with segments of up to 64 KiB, were counted
// (KEEPSCOPE_OVERHEAD=1 go test -run TestOverheadExact ./cmd/keepscope -v):
//
//	traffic                    · 2048 bytes             · 512 bytes
//	1 KB, keep-alive or close  · all                    · all
//	100 kB bodies              · all                    · all
//	request headers of 1.5 kB  · all                    · none
//	pipelined by 4             · all                    · all
//	pipelined by 50            · 1680                   · 360
//	chunked                    · all, the last an abort · all, the last an abort
//
// As frames are not copied, a smaller snaplen takes off little where they have
// the size of a wire's: of our CPU time nothing that the measurements tell from
// noise. Where they have that of segmentation offload it takes off a third (2048
// bytes) to a half (512), and the ring holds 30 or 100 times as many.
//
// A loopback interface shows each packet once, and the kernel is asked not to
// put the outgoing copies into the ring; on "any" they are left out after they
// went through the ring, so that drops of loopback count twice there. On "any"
// frames with two VLAN tags are not captured: the kernel takes off the outer one,
// and behind the other the filter does not look. Name the interface for those.
//
// An interface that is down is waited for. One that disappears is an
// InterfaceError; Reopen then binds the same socket, with its ring and filter,
// to the next interface of that name, which takes no rights; one of another kind
// (ErrChanged) would take a ring, a filter and rights of its own.
//
// # Cost
//
// CPU seconds a packet as ratios to tcpdump -w /dev/null with the same ring, on
// two processors that had other work as well, medians of two runs and extremes of
// KEEPSCOPE_OVERHEAD=5 go test -run 'TestOverhead$/run' ./cmd/keepscope -v. The
// first column is an earlier run, of what was before:
//
//	keepscope run              · copied by pcap_dispatch · views of the ring
//	1 KB exchanges, keep-alive · 4.1                     · 1.8, 1.9 (1.7–2.2)
//	1 KB exchanges, close      · 5.3                     · 2.6, 2.6 (2.2–2.8)
//	100 kB bodies              · 1.5                     · 0.5, 0.5 (0.4–0.6)
//
// Of what is left on 1 KB exchanges about a fifth is spent here, mostly on
// waiting for memory that another processor wrote; most is analysis. Where there
// is no traffic it takes 1.2 ms a second, for waking up.
//
// # Caps
//
//	what                    · cap             · default    · when full
//	interfaces              · 64              · none       · Open fails
//	bytes kept of a frame   · 256 KiB         · 64.5 KiB   · the rest is cut, Frame.Length tells
//	ring of an interface    · Config.Buffer   · 64 MiB     · the kernel drops, Drops tells
//	block of a ring         · 1 MiB           · same       · the next one is filled
//	frames of a batch       · 512             · same       · the rest comes with the next Read
package pcap
