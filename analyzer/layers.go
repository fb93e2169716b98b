package analyzer

import (
	"bytes"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http1"
	"github.com/keepscope/keepscope/analyzer/http2"
	"github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/reassembly"
)

// A protocol is what reads a layer of a connection.
type protocol uint8

const (
	unrecognised protocol = iota // HTTP/1's reader looks for a message
	readHTTP1
	readHTTP2
	readTLS
	unread // nothing: HTTP ended, or the layers are too many
)

// maxLayers is how many protocols may lie within each other: TCP's bytes are layer 0,
// and what TLS hides is one above. A CONNECT tunnel's inside is the same layer again.
const maxLayers = 3

// data hands bytes of a layer to what reads it.
func (l *ledger) data(layer int, from http.Side, b []byte, at int64) {
	s := l.conn
	if s.layers[layer] == unrecognised {
		if b = l.recognise(layer, from, b); len(b) == 0 {
			return
		}
	}
	switch s.layers[layer] {
	case readTLS:
		l.tlsData(layer, from, b, at)
	case readHTTP2:
		s.cold.h2.Data(from, b, at)
	case unread:
		l.passed(from, len(b))
	default:
		l.http1(layer, from, b, at)
	}
}

// recognise finds out what a layer carries, if that can be told from b, which comes
// first or follows on what told nothing. It returns what of b is still to be read.
func (l *ledger) recognise(layer int, from http.Side, b []byte) []byte {
	s := l.conn
	if layer == 0 && from == http.Client && s.requests == 0 {
		if b = l.skipProxyHeader(b); len(b) == 0 {
			return nil
		}
	}
	switch {
	case l.isTLS(layer, b):
		l.openTLS(layer, b)
	case from == http.Client && beginsPreface(b):
		l.openHTTP2(layer, http2.Prior)
	case from == http.Server && s.requests == 0 && s.lastEnd == never && http2.Recognise(b):
		l.openHTTP2(layer, http2.Prior) // some servers send SETTINGS before they are asked (RFC 9113 §3.4)
	case layer == 0 && l.midstream() && http2.Recognise(b):
		l.openHTTP2(layer, http2.Midstream)
	}
	return b
}

// beginsPreface says whether b begins like HTTP/2's connection preface, by enough
// bytes that no request of HTTP/1 does (RFC 9113 §3.4).
func beginsPreface(b []byte) bool {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	return len(b) >= 4 && bytes.HasPrefix([]byte(preface), b[:min(len(b), len(preface))])
}

// openHTTP2 makes a layer one of HTTP/2.
func (l *ledger) openHTTP2(layer int, start http2.Start) {
	s := l.conn
	s.layers[layer] = readHTTP2
	s.set(rolesKnown)
	if s.protocol == fact.ProtocolUnknown || s.protocol == fact.ProtocolTLS || start == http2.Upgraded {
		s.protocol = fact.ProtocolH2
	}
	l.streamsOf(s)
	l.table.openH2(s, start)
}

// http1 hands what a side sent to the reader of HTTP/1.
func (l *ledger) http1(layer int, from http.Side, b []byte, at int64) {
	s := l.conn
	f := l.activeOf()
	if from == http.Client {
		f.http1.Sight = l.sight()
	}
	f.http1.Data(from, b, at)
	if end, rest := f.http1.Ended(); end != http1.NotEnded {
		l.http1Ended(layer, from, end, rest, at)
		return
	}
	if s.requests > 0 || s.responses > 0 {
		s.layers[layer] = readHTTP1
	}
	l.table.rest(s)
}

// sight says how far the client had read when it sent the segment that is handed over:
// by what that acknowledges, or else by all that is known to have been sent.
func (l *ledger) sight() http1.Sight {
	server := l.dir(http.Server)
	if g := &l.segment; g.known {
		return http1.Sight{Read: g.ack, Beyond: l.tcp.Behind(server) && int32(g.ack-l.next(server)) > 0}
	}
	return http1.Sight{Read: l.tcp.Known(server), Beyond: l.tcp.Behind(server)}
}

// http1Ended goes on where HTTP/1 ended, with what followed it in a segment.
func (l *ledger) http1Ended(layer int, from http.Side, end http1.Ending, rest []byte, at int64) {
	s := l.conn
	switch end {
	case http1.ByPreface:
		l.abandon(at)
		l.openHTTP2(layer, http2.PriorLine)
	case http1.ByH2C:
		l.openHTTP2(layer, http2.Upgraded)
	case http1.ByTunnel:
		s.layers[layer] = unrecognised
		s.set(tunneled)
		l.abandon(at)
	case http1.ByUpgrade:
		s.layers[layer] = unread
		s.set(upgraded)
		u := &l.table.coldOf(s).upgrade
		u.At, u.Last = at, at
	case http1.NotEnded:
	}
	if len(rest) > 0 {
		l.data(layer, from, rest, at)
	}
}

// abandon ends HTTP/1's reading on a layer that goes on otherwise: what is outstanding
// will not be answered.
func (l *ledger) abandon(at int64) {
	for s := l.conn; len(s.open()) > 0; {
		l.unanswered(0)
		l.endExchange(0, at)
	}
	l.table.deactivate(l.conn)
}

// passed counts what a side sends after HTTP ended.
func (l *ledger) passed(from http.Side, n int) {
	if s := l.conn; s.is(upgraded) {
		u := &l.table.coldOf(s).upgrade
		u.Bytes[from] += uint64(n)
		u.Segments[from]++
		u.Last = l.now()
	}
}

// gap tells what reads a layer of bytes that were not captured.
func (l *ledger) gap(layer int, from http.Side, n int64, cut bool, at int64) {
	s := l.conn
	switch s.layers[layer] {
	case readTLS:
		l.tlsGap(layer, from, n, at)
	case readHTTP2:
		s.cold.h2.Gap(from, n, at)
	case unread:
	default:
		f := l.activeOf()
		if cut && f.http1.Cut(from, at) {
			s.set(cutHead)
		}
		f.http1.Gap(from, n, at)
	}
}

// close tells what reads a layer that a side sends no more.
func (l *ledger) close(layer int, from http.Side, at int64) {
	s := l.conn
	switch s.layers[layer] {
	case readTLS:
		l.tlsClose(layer, from, at)
	case readHTTP2:
		s.cold.h2.Close(from, at)
	case unread:
	default:
		if s.active != nil {
			s.active.http1.Close(from, s.lastData)
		}
	}
}

// isTLS says whether b begins a TLS connection on a layer that has carried nothing
// that is known.
func (l *ledger) isTLS(layer int, b []byte) bool {
	s := l.conn
	if layer >= maxLayers-1 || s.requests+s.responses > 0 && !s.is(tunneled) {
		return false
	}
	return tls.IsClientHello(b) || layer == 0 && l.midstream() && tls.IsApplicationData(b)
}

// identifySides decides who the client of a midstream connection is, by the first
// segment that begins like a message, or by a SYN that came late.
func (l *ledger) identifySides(dir reassembly.Dir, payload []byte) {
	client := dir
	switch {
	case l.tcp.SYNByServer():
		client = reassembly.Server
	case http1.BeginsLike(http1.Request, payload), tls.IsClientHello(payload):
	case http1.BeginsLike(http1.Response, payload):
		client = dir.Other()
	default:
		if !http2.Recognise(payload) {
			return
		}
		switch side, ok := http2.Sender(payload); {
		case !ok:
			return
		case side == http.Server:
			client = dir.Other()
		}
	}
	l.conn.set(rolesKnown)
	if client != reassembly.Client {
		l.conn.set(rolesSwapped)
		l.rolesSwapped = true
	}
}
