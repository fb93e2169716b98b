package sniffer

import (
	"fmt"
	"strings"
)

// Filter returns, in the language of pcap-filter(7), what a Decoder of the
// config makes segments of, and little else: it is made of the tables that the
// Decoder goes by. VLAN tags, which the language counts by position, and frames
// of IEEE 802.3 with a length in place of a type are left to the caller.
func (c DecoderConfig) Filter() string {
	var terms []string
	add := func(format string, args ...any) { terms = append(terms, fmt.Sprintf(format, args...)) }
	add("tcp")
	udp := false
	for _, u := range udpPorts {
		if !c.decodes(u.layer) {
			continue
		}
		udp = true
		if u.both {
			add("udp port %d", u.number)
		} else {
			add("udp dst port %d", u.number)
		}
	}
	if udp { // later fragments, which have no ports
		add("(udp and ip[6:2] & 0x1fff != 0)")
	}
	for protocol, l := range ipProtocols {
		switch l {
		case noLayer, layerTCP, layerUDP:
		case layerExtension, layerFragment: // anything may stand behind
			add("ip6[6] = %d", protocol)
		case layerAH:
			add("proto %d", protocol)
		default:
			if !c.NoTunnels {
				add("proto %d", protocol)
			}
		}
	}
	for _, t := range etherTypes {
		switch t.number {
		case typeIPv4, typeIPv6: // what is in them is above
		case typeVLAN, typeQinQ, typeQinQOld: // "vlan" looks behind them
		default:
			add("ether proto %#04x", t.number)
		}
	}
	return strings.Join(terms, " or ")
}
