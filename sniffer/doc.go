// Package sniffer decodes captured frames into TCP segments and DNS datagrams.
//
// A [Source] fills a [Batch] with frames; a [Decoder] turns each frame, once,
// into a flat [Segment] whose payload views the batch's buffer. Nothing here
// reads a clock, logs, or knows HTTP.
//
// # What is decoded
//
//   - Link types: null and loop (0, 108; either byte order), Ethernet (1), PPP
//     (9, 50, 51), Cisco HDLC (104), raw IP (12, 14, 101, 228, 229), Linux
//     cooked v1 (113) and v2 (276).
//   - Ethernet: 802.1Q, 802.1ad and the older 0x9100 and 0x9200 tags, any
//     number of them; MPLS, its payload guessed from its first bytes
//     (RFC 4928, pseudowires of RFC 4448 with and without control word); PPPoE
//     sessions; LLC/SNAP.
//   - IPv4 with options, IPv6 with extension headers, AH, fragments of both.
//   - Tunnels, unless [DecoderConfig].NoTunnels: IP in IP in the four ways, GRE
//     (versions 0 and 1, ERSPAN I to III, WCCP), GRE in UDP (port 4754), VXLAN
//     (4789, 8472) and its generic protocol extension (4790), Geneve (6081), GTP-U
//     (2152), L2TP version 2 (1701) and, where what it holds can be told from
//     the bytes alone, 3 (1701 and IP protocol 115), MPLS in IP and in UDP (6635),
//     EtherIP.
//
// The tables in numbers.go are what both decoding and [DecoderConfig.Filter] go
// by. What is in none of them is counted by its number ([NotDecoded]).
//
// Addresses are the innermost ones. TCP within an ICMP error is not a segment.
// Checksums are not looked at: those of packets that a host sends itself are
// filled in by its network card, after the capture.
//
// # Lengths
//
// [Segment].Length comes from the innermost IP header, so Ethernet padding is
// gone and a frame cut by a snaplen still says how many bytes it carried. An IP
// length of 0 is segmentation offload (or an IPv6 jumbogram): there the
// frame's own length on the wire counts.
//
// # Limits
//
//	what                          cap                              default    when full
//	headers of one frame          32                               fixed      counted as TooDeep
//	datagram of IP length 0       1 MiB                            fixed      counted as BadIPv4, BadIPv6
//	fragmented datagrams          DecoderConfig.MaxDatagrams       256        the oldest is given up
//	fragments of one datagram     256                              fixed      the datagram is given up, counted as BadFragment
//	bytes of one datagram         65 535                           fixed      the datagram is given up, counted as BadFragment
//	bytes of all fragments        DecoderConfig.MaxFragmentBytes   4 MiB      the oldest datagram is given up
//	wait for missing fragments    DecoderConfig.FragmentTimeout    30 s       the datagram is given up (packet time)
//	numbers of what is not decoded  16 of each registry            fixed      the least frequent joins the rest
//
// A datagram of which two fragments overlap is given up (RFC 5722 §3, for IPv4
// too: no sender overlaps them in good faith); an exact copy of a fragment is
// ignored.
package sniffer
