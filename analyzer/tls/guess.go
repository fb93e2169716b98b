package tls

import (
	"bytes"

	"github.com/keepscope/keepscope/analyzer/tls/protection"
)

// Lengths of what HTTP/2 begins with (RFC 9113 §3.4, §4.1, §6.5, §6.9), and of
// the frames that a client sends beside requests.
const (
	prefaceSize      = 24
	settingsAck      = 9 // a frame's header
	setting          = 6
	windowUpdate     = 13
	ping             = 17 // GOAWAY's, too
	maxSettings      = 8  // of a client's first SETTINGS
	maxBeside        = 35 // bytes of frames that are no HEADERS; more may be one
	shortestHeaders  = 17 // HEADERS with method, scheme and path of the static table, and a short name
	shortestRequest  = 16 // "GET / HTTP/1.1\r\n"
	continueResponse = 25 // "HTTP/1.1 100 Continue\r\n\r\n"
)

// offers notes whether a client offers HTTP/2.
func (o *Observer) offers(protocols []byte) {
	for list, first := protocols, true; len(list) > 0; first = false {
		var name []byte
		name, list, _ = bytes.Cut(list, []byte{','})
		if string(name) == "h2" {
			o.state |= offersHTTP2
			if first {
				o.state |= prefersHTTP2
			}
		}
	}
}

// chosen looks at the server's first encrypted record in TLS 1.3. Where it has
// EncryptedExtensions alone (RFC 8446 §4.3.1) its length tells the protocol chosen: ALPN
// takes 9 bytes with h2, 15 with http/1.1; server_name and early_data take 4 each.
func (o *Observer) chosen(length uint16) {
	o.state |= choseSeen
	switch int(length) - int(o.encrypted(helloHead+2)) {
	case 9, 13, 17:
		o.state |= choseHTTP2
	case 0, 4, 8, 15, 19, 23:
		o.state |= choseOther
	}
}

// LooksHTTP2 says whether a connection carries HTTP/2: as ALPN says up to TLS 1.2, and in TLS
// 1.3, where the choice is encrypted, as it seems; the rule is in the package's
// documentation. The answer stands once the client has sent two records of application data.
func (o *Observer) LooksHTTP2() bool {
	switch {
	case o.state&isHTTP2 != 0:
		return true
	case o.state&offersHTTP2 == 0, o.state&choseOther != 0:
		return false
	case o.state&choseHTTP2 != 0:
		return true
	}
	return o.state&(prefersHTTP2|wentOn) == prefersHTTP2|wentOn
}

// measure says how much a record of application data may hold, and what.
func (o *Observer) measure(dir Dir, length uint16, i *Info) {
	i.Length = length
	suite := protection.SuiteOf(o.suite, o.version)
	content := max(int(length)-suite.Overhead(o.version), 0)
	i.Content = uint16(content)
	first := o.state&clientData == 0
	i.Request = false
	i.Interim = dir == Server && content == continueResponse && suite.Exact()
	if dir == Server {
		o.state |= serverData
		i.Request = o.state&mayHaveAsked != 0 && content > maxBeside && o.LooksHTTP2()
		return
	}
	switch {
	case first && beginsHTTP2(content):
		o.state |= beganHTTP2
	case !first && o.state&(beganHTTP2|serverData) == beganHTTP2:
		o.state |= wentOn
	}
	o.state |= clientData
	if o.LooksHTTP2() {
		i.Request = holdsHeaders(content, first)
		if !i.Request && !first && content >= shortestHeaders {
			o.state |= mayHaveAsked
		}
	} else {
		i.Request = content >= shortestRequest
	}
}

// beginsHTTP2 says whether a client's first record has the length of the preface alone, or with
// SETTINGS, or with a WINDOW_UPDATE too.
func beginsHTTP2(content int) bool {
	if content == prefaceSize {
		return true
	}
	n := content - prefaceSize - settingsAck
	return n >= 0 && (n%setting == 0 && n <= maxSettings*setting ||
		n >= windowUpdate && (n-windowUpdate)%setting == 0 && n-windowUpdate <= maxSettings*setting)
}

// holdsHeaders says whether a client's record can hold a HEADERS frame: the
// first does where it is longer than what HTTP/2 begins with, another unless it is
// short and what SETTINGS acknowledgements, WINDOW_UPDATE, PING and GOAWAY add up to.
func holdsHeaders(content int, first bool) bool {
	if first {
		return !beginsHTTP2(content)
	}
	if content > maxBeside {
		return true
	}
	for a := content; a >= 0; a -= settingsAck {
		for b := a; b >= 0; b -= windowUpdate {
			if b%ping == 0 {
				return false
			}
		}
	}
	return true
}
