package analyzer

import "github.com/keepscope/keepscope/sniffer"

// Datagram takes a DNS message: who asks for which name, and for which
// addresses it stands.
func (a *Analyzer) Datagram(s *sniffer.Segment) {}
