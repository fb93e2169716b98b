package sniffer

import "iter"

// A DecodeError says what about a frame could not be decoded.
type DecodeError uint8

// The decode errors. Each frame counts at most once, where decoding stopped.
const (
	UnknownLink DecodeError = iota // a link type that is not supported
	BadLink                        // the header of a link type other than Ethernet
	BadEthernet                    // Ethernet, VLAN tag, LLC
	BadMPLS
	BadPPPoE
	BadIPv4
	BadIPv6
	BadTCP
	BadUDP
	BadGRE
	BadVXLAN
	BadGeneve
	BadL2TP
	BadGTP
	BadFragment // overlapping, too long, or too many of one datagram
	TooDeep     // more headers than any real network stacks
	CutHeader   // a snaplen ended the frame within its headers
	NumDecodeErrors
)

var decodeErrorNames = [NumDecodeErrors]string{
	"link_type", "link", "ethernet", "mpls", "pppoe", "ipv4", "ipv6", "tcp", "udp",
	"gre", "vxlan", "geneve", "l2tp", "gtp", "fragment", "depth", "snaplen",
}

// String returns a short lower-case word, fit for a label.
func (e DecodeError) String() string {
	if e < NumDecodeErrors {
		return decodeErrorNames[e]
	}
	return "unknown"
}

// DecodeErrors counts frames by what was wrong with them.
type DecodeErrors [NumDecodeErrors]uint64

// All yields every kind, also those that never occurred, in a fixed order.
func (e DecodeErrors) All() iter.Seq2[DecodeError, uint64] {
	return func(yield func(DecodeError, uint64) bool) {
		for kind, n := range e {
			if !yield(DecodeError(kind), n) {
				return
			}
		}
	}
}

// Total returns the number of frames that could not be decoded.
func (e DecodeErrors) Total() uint64 {
	var sum uint64
	for _, n := range e {
		sum += n
	}
	return sum
}

// DecodeStats counts what became of frames. Every frame is in exactly one of
// Segments, Datagrams, Fragments, Other and Errors.
type DecodeStats struct {
	Frames    uint64
	Segments  uint64 // TCP segments
	Datagrams uint64 // DNS datagrams
	Fragments uint64 // IP fragments that did not complete a datagram
	Other     uint64 // well formed and neither of these: ARP, ICMP, other UDP, …
	Errors    DecodeErrors

	NotDecoded NotDecoded // Other, by what it is
	TimeBack   uint64     // frames stamped earlier than the one before them

	Reassembled      uint64 // datagrams put together from fragments
	FragmentsExpired uint64 // datagrams given up, fragments missing too long
	FragmentsEvicted uint64 // datagrams given up for the room of newer ones
}
