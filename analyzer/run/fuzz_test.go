package run

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// A said is what one side sent at once.
type said struct {
	from reassembly.Dir
	text string
}

const (
	fromClient = reassembly.Client
	fromServer = reassembly.Server

	request11  = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
	response11 = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	connect    = "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n"
	connected  = "HTTP/1.1 200 OK\r\n\r\n"
	askH2C     = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
	grantH2C   = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

	preface     = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	settings    = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	settings2   = "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x02"
	settingsACK = "\x00\x00\x00\x04\x01\x00\x00\x00\x00"
	get1        = "\x00\x00\x0e\x01\x05\x00\x00\x00\x01\x82\x84\x86\x41\x09a.example"
	get3        = "\x00\x00\x0e\x01\x05\x00\x00\x00\x03\x82\x84\x86\x41\x09a.example"
	get5open    = "\x00\x00\x0e\x01\x01\x00\x00\x00\x05\x82\x84\x86\x41\x09a.example"
	ok1         = "\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88"
	ok3         = "\x00\x00\x01\x01\x05\x00\x00\x00\x03\x88"
	data5       = "\x00\x00\x02\x00\x01\x00\x00\x00\x05ok"
	goaway0     = "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	goawayLast  = "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x01"
	reset1      = "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"
	refused3    = "\x00\x00\x04\x03\x00\x00\x00\x00\x03\x00\x00\x00\x07"
	ping        = "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"
)

// someLines are what a side may send at any time.
var someLines = []string{
	request11, response11, connect, connected, askH2C, grantH2C,
	preface, settings, settings2, settingsACK, get1, get3, get5open, ok1, ok3, data5, goaway0, goawayLast, reset1, refused3, ping,
	preface + settings + get1, settings + ok1, "GET /\r\n", "HEAD / HTTP/1.1\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
	"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
	"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", request11 + request11 + request11, response11 + response11,
	"PROXY TCP4 192.0.2.1 10.0.0.2 40000 80\r\n", "PROXY TCP4 192.0", "PROXY UNKNOWN\r\n",
	"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\x0a\x00\x00\x02\x9c\x40\x00\x50", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",
	"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", "\x17\x03\x03\x00\x20" + "0123456789abcdef0123456789abcdef", "\x15\x03\x03\x00\x02\x01\x00",
	"\x17\x03\x03\x40\x00", "\x14\x03\x03\x00\x01\x01", "\x00\x01\x02",
}

// someTalks are conversations in clear, or inside TLS.
var someTalks = [][]said{
	{{fromClient, request11}, {fromServer, response11}, {fromClient, request11}, {fromServer, response11}},
	{{fromClient, preface + settings}, {fromServer, settings2}, {fromClient, get1}, {fromClient, get3}, {fromServer, ok3}, {fromServer, goawayLast}, {fromServer, ok1}},
	{{fromClient, askH2C}, {fromServer, grantH2C + settings}, {fromServer, ok1}, {fromClient, preface + settings}, {fromClient, get3}, {fromServer, ok3}},
	{{fromClient, connect}, {fromServer, connected}, {fromClient, request11}, {fromServer, response11}, {fromClient, request11}, {fromServer, response11}},
	{{fromClient, "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"}, {fromServer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"}, {fromClient, "\x81\x02hi"}},
}

// A wiretap keeps what is written on a connection.
type wiretap struct {
	net.Conn
	from  reassembly.Dir
	mu    *sync.Mutex
	heard *[]said
}

func (w *wiretap) Write(b []byte) (int, error) {
	w.mu.Lock()
	*w.heard = append(*w.heard, said{w.from, string(b)})
	w.mu.Unlock()
	return w.Conn.Write(b)
}

// encrypted returns what a talk looks like under TLS of a version, and its key log in
// log; within a CONNECT tunnel under TLS, if that is asked for.
func encrypted(t testing.TB, talk []said, version uint16, tunnel bool, log io.Writer) (heard []said) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}, SessionTicketsDisabled: true, NextProtos: []string{"h2", "http/1.1"}}
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "a.example", MaxVersion: version, KeyLogWriter: log}
	if len(talk) > 0 && len(talk[0].text) > 3 && talk[0].text[:3] == "PRI" {
		client.NextProtos = []string{"h2"}
	}
	var mu sync.Mutex
	c, s := net.Pipe()
	defer c.Close()
	ends := [2]net.Conn{&wiretap{c, fromClient, &mu, &heard}, &wiretap{s, fromServer, &mu, &heard}}
	secure := func() {
		shaken := make(chan error)
		inner := tls.Server(ends[1], server)
		go func() { shaken <- inner.Handshake() }()
		outer := tls.Client(ends[0], client)
		if err := outer.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		ends = [2]net.Conn{outer, inner}
	}
	play := func(talk []said) {
		for _, m := range talk {
			written := make(chan error)
			go func() {
				_, err := io.WriteString(ends[m.from], m.text)
				written <- err
			}()
			if _, err := io.ReadFull(ends[m.from.Other()], make([]byte, len(m.text))); err != nil {
				t.Fatal(err)
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
		}
	}
	secure()
	if tunnel {
		play([]said{{fromClient, connect}, {fromServer, connected}})
		secure()
	}
	play(talk)
	return heard
}

// A fuzzPlayer plays what a fuzzer's bytes ask for on a few connections. Its worker
// serves many inputs, as one serves many connections in its life: what is used again
// has to be as good as new.
type fuzzPlayer struct {
	worker *Worker
	facts  sound
	keys   *keylog.Store
	log    []byte
	keyed  bool // log was read
	talks  [][]said
	conns  [4]fuzzConn
	now    int64
	input  []byte
}

type fuzzConn struct {
	endpoint [2]sniffer.Endpoint
	next     [2]uint32
	talk, at int
	last     sniffer.Segment
}

// byte returns the next one of the input, 0 behind its end.
func (p *fuzzPlayer) byte() int {
	if len(p.input) == 0 {
		return 0
	}
	b := p.input[0]
	p.input = p.input[1:]
	return int(b)
}

func (p *fuzzPlayer) process(s sniffer.Segment) { p.worker.Process(s) }

func (p *fuzzPlayer) segment(c *fuzzConn, from reassembly.Dir, flags sniffer.Flags, b string) sniffer.Segment {
	p.now += 1e6
	s := sniffer.Segment{
		Time: p.now, Protocol: sniffer.TCP, Src: c.endpoint[from], Dst: c.endpoint[from.Other()], Window: 1000,
		Seq: c.next[from], Ack: c.next[from.Other()], Flags: flags | sniffer.ACK, Length: uint32(len(b)), Payload: []byte(b),
	}
	c.next[from] += s.Length
	if flags&(sniffer.FIN|sniffer.SYN) != 0 {
		c.next[from]++
	}
	c.last = s
	return s
}

func (p *fuzzPlayer) open(c *fuzzConn) {
	c.next = [2]uint32{c.next[0] + 1e6, c.next[1] + 2e6}
	s := p.segment(c, fromClient, sniffer.SYN, "")
	s.Flags, s.Ack = sniffer.SYN, 0
	p.process(s)
	p.process(p.segment(c, fromServer, sniffer.SYN, ""))
	p.process(p.segment(c, fromClient, 0, ""))
	c.at = 0
}

// say sends the next of what the connection's conversation has.
func (p *fuzzPlayer) say(c *fuzzConn, how int) {
	talk := p.talks[c.talk]
	if c.at >= len(talk) {
		return
	}
	m := talk[c.at]
	c.at++
	s := p.segment(c, m.from, 0, m.text)
	half := len(s.Payload) / 2
	switch how {
	case 1: // it is lost
	case 2: // cut by the snaplen
		s.Payload = s.Payload[:half]
		p.process(s)
	case 3: // in two segments, the second one first
		a, b := s, s
		a.Payload, a.Length = s.Payload[:half], uint32(half)
		b.Payload, b.Length, b.Seq = s.Payload[half:], s.Length-uint32(half), s.Seq+uint32(half)
		p.process(b)
		p.process(a)
	default:
		p.process(s)
	}
}

// step takes one step of the input.
func (p *fuzzPlayer) step() {
	b := p.byte()
	c, dir := &p.conns[b&3], reassembly.Dir(b>>2&1)
	switch kind := b >> 3; kind {
	case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11:
		p.say(c, kind)
	case 12:
		c.talk, c.at = p.byte()%len(p.talks), 0
	case 13, 14, 15, 16, 17, 18:
		p.process(p.segment(c, dir, 0, someLines[p.byte()%len(someLines)]))
	case 19:
		p.process(c.last)
	case 20:
		p.process(p.segment(c, dir, sniffer.FIN, ""))
	case 21:
		p.process(p.segment(c, dir, sniffer.RST, ""))
	case 22, 23:
		p.open(c)
	case 24, 25:
		p.now += []int64{1e8, 1e9, 3e9, 30e9, 61e9, 700e9}[p.byte()%6]
		p.worker.sweep(p.now)
	case 26:
		n := min(p.byte(), len(p.input))
		p.process(p.segment(c, dir, 0, string(p.input[:n])))
		p.input = p.input[n:]
	case 27:
		n := min(p.byte(), len(p.input))
		p.process(sniffer.Segment{Time: p.now, Protocol: sniffer.DNS, Src: c.endpoint[dir], Dst: c.endpoint[dir.Other()], Payload: p.input[:n]})
		p.input = p.input[n:]
	case 28:
		if p.keyed {
			break // they are known
		}
		p.keyed = true
		parser := keylog.NewParser(p.keys)
		_, _ = parser.Write(p.log)
		_ = parser.Close()
	case 29:
		c.next[dir] += uint32(p.byte())
	case 30:
		s := p.segment(c, dir, 0, "")
		s.Window = 0
		p.process(s)
	case 31:
		c.at = p.byte() % (len(p.talks[c.talk]) + 1)
	}
}

// newFuzzPlayer returns a player of talks, whose secrets are in log.
func newFuzzPlayer(talks [][]said, log []byte) *fuzzPlayer {
	p := &fuzzPlayer{keys: keylog.New(64), log: log, talks: talks, now: 1e18}
	p.worker = NewWorker(reassembly.Config{}, analyzer.Config{Keys: p.keys, MaxReuseIdle: 8, MaxHeaderBytes: 1 << 16}, &p.facts)
	return p
}

// play plays an input.
func (p *fuzzPlayer) play(t *testing.T, input []byte) {
	p.facts, p.input, p.conns, p.keyed = sound{t: t}, input, [4]fuzzConn{}, false
	for i := range p.conns {
		p.conns[i].endpoint = [2]sniffer.Endpoint{{Addr: [16]byte{15: 1}, Port: uint16(40000 + i)}, {Addr: [16]byte{15: 2}, Port: 80}}
	}
	begun := p.worker.Assembler.Stats().Connections
	for len(p.input) > 0 {
		p.step()
	}
	p.worker.Flush()
	if s := p.worker.Assembler.Stats(); s.Open+s.Closed+s.Buffered > 0 || s.Connections-begun != p.facts.told {
		t.Errorf("%d of %d connections were told: %+v", p.facts.told, s.Connections-begun, s)
	}
	p.keys.Close()
	p.now += 3 * 3600e9 // more than anything is remembered
}

// sound holds facts to what is true of any.
type sound struct {
	t    *testing.T
	told uint64 // connections
}

func (s *sound) Exchange(e *fact.Exchange) {
	if e.Index == 0 || e.Outcome >= fact.NumOutcomes || e.Failure >= fact.NumFailures {
		s.t.Errorf("exchange %+v", *e)
	}
}

func (s *sound) Connection(c *fact.Connection) {
	s.told++
	var sum uint32
	for _, n := range c.Negotiated {
		sum += n
	}
	if !c.Estimated && sum != c.Requests {
		s.t.Errorf("%d outcomes of %d requests: %+v", sum, c.Requests, *c)
	}
	if c.Reason == fact.ReasonNone || c.Reason >= fact.NumReasons || c.Cause >= fact.NumCauses || c.Reused > c.Requests {
		s.t.Errorf("connection %+v", *c)
	}
	if wasted := c.Verdict == fact.VerdictWasted; wasted != (c.Cause != fact.NoCause) || wasted && !c.Cause.Possible() {
		s.t.Errorf("verdict %v, cause %v: %+v", c.Verdict, c.Cause, *c)
	}
}

// FuzzAnalyzer plays conversations of all layers, whole and in pieces, with losses, ends
// and keys at any time.
func FuzzAnalyzer(f *testing.F) {
	talks := append([][]said{}, someTalks...)
	var log logWriter
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, talk := range someTalks {
			talks = append(talks, encrypted(f, talk, version, false, &log), encrypted(f, talk, version, true, &log))
		}
	}
	for i := range talks {
		seed := []byte{28 << 3, 22 << 3, 12 << 3, byte(i)}
		for range talks[i] {
			seed = append(seed, 0)
		}
		f.Add(append(seed, 20<<3, 20<<3|4))
		f.Add(seed[1:])
	}
	p := newFuzzPlayer(talks, log.b)
	f.Fuzz(func(t *testing.T, input []byte) {
		if p.now > 4e18 {
			p = newFuzzPlayer(talks, log.b)
		}
		p.play(t, input[:min(len(input), 1<<10)])
	})
}

// A logWriter keeps a key log.
type logWriter struct{ b []byte }

func (l *logWriter) Write(b []byte) (int, error) {
	l.b = append(l.b, b...)
	return len(b), nil
}
