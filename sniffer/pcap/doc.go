// Package pcap captures frames on live interfaces through libpcap. It is the
// only package that needs cgo.
//
// A Source reads all its interfaces in one goroutine: one call into C fills a
// whole batch, by pcap_dispatch on each interface that has packets, and waits
// in poll where none has. gopacket/pcap, whose Handle costs a call into C for
// each packet, lists interfaces and compiles filters.
//
// The kernel filters, and copies at most Config.Snaplen bytes of a frame: a
// body's bytes are skipped by arithmetic, so they need not be captured.
package pcap
