package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/dns"
	"github.com/keepscope/keepscope/sniffer"
)

// Datagram takes a DNS message: who asks for which name, and for which
// addresses it stands.
func (a *Analyzer) Datagram(s *sniffer.Segment) {
	if dns.Parse(s.Payload, &a.question) {
		a.dns.Message(&a.question, s.Src.Addr, s.Src.Port, s.Dst.Addr, s.Dst.Port, s.Time)
	}
}
