package sniffer

import (
	"cmp"
	"fmt"
	"slices"
)

// A Registry is where the number is listed that names something not decoded.
type Registry uint8

// The registries.
const (
	EtherType Registry = iota
	IPProtocol
	UDPPort // the lower one of the two ports: that is the server's, nearly always
	numRegistries

	noRegistry = numRegistries // what has no number there
)

const (
	// maxNumbers bounds the numbers of a registry that are counted apart.
	maxNumbers = 16
	// maxServerPort is the highest UDP port that is taken for a server's: from
	// the next on, Linux gives clients theirs.
	maxServerPort = 32767
)

// String returns a short lower-case word, fit for a label.
func (r Registry) String() string {
	switch r {
	case EtherType:
		return "ethertype"
	case IPProtocol:
		return "ip_protocol"
	case UDPPort:
		return "udp_port"
	default:
		return "unknown"
	}
}

// An Undecoded counts frames that are well formed and hold no segment that the
// Decoder knows how to reach.
type Undecoded struct {
	Registry Registry
	Number   uint16
	Frames   uint64
}

// String returns the number with its registry, as in "UDP port 2152".
func (u Undecoded) String() string {
	switch u.Registry {
	case EtherType:
		return fmt.Sprintf("EtherType %#04x", u.Number)
	case IPProtocol:
		return fmt.Sprintf("IP protocol %d", u.Number)
	default:
		return fmt.Sprintf("UDP port %d", u.Number)
	}
}

// NotDecoded counts the frames of DecodeStats.Other by what they hold. Of each
// registry the 16 numbers met most are counted apart: where there is no room for
// a new one, the number with the fewest frames goes, and its frames count for
// Rest. So a number that keeps coming stays, whatever else does.
type NotDecoded struct {
	numbers [numRegistries][maxNumbers]counted
	Rest    uint64 // frames of further numbers, and of none
}

// A counted is the frames of a number, 0 where the place is free.
type counted struct {
	frames uint64
	number uint16
}

func (n *NotDecoded) add(registry Registry, number uint16) {
	if registry >= numRegistries || registry == UDPPort && number > maxServerPort {
		n.Rest++
		return
	}
	row := &n.numbers[registry]
	fewest := 0
	for i := range row {
		c := &row[i]
		if c.frames > 0 && c.number == number {
			c.frames++
			return
		}
		if c.frames < row[fewest].frames {
			fewest = i
		}
	}
	n.Rest += row[fewest].frames
	row[fewest] = counted{frames: 1, number: number}
}

// All returns the numbers that are counted apart, the most frequent first.
func (n *NotDecoded) All() []Undecoded {
	var all []Undecoded
	for registry := range n.numbers {
		for _, c := range n.numbers[registry] {
			if c.frames > 0 {
				all = append(all, Undecoded{Registry(registry), c.number, c.frames})
			}
		}
	}
	slices.SortFunc(all, func(a, b Undecoded) int {
		return cmp.Or(cmp.Compare(b.Frames, a.Frames), cmp.Compare(a.Registry, b.Registry), cmp.Compare(a.Number, b.Number))
	})
	return all
}
