package tls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/tls/keylog"
)

// readTrace reads testdata/rfc8448.txt: what each side sent, and a key log.
func readTrace(t testing.TB) (sent [2][]byte, log []byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/rfc8448.txt")
	if err != nil {
		t.Fatal(err)
	}
	random := ""
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || name == "#" {
			continue
		}
		switch name {
		case "random":
			random = value
		case "client", "server":
			b, err := hex.DecodeString(value)
			if err != nil {
				t.Fatal(err)
			}
			sent[map[string]Dir{"client": Client, "server": Server}[name]] = append(sent[map[string]Dir{"client": Client, "server": Server}[name]], b...)
		default:
			log = fmt.Appendf(log, "%s %s %s\n", name, random, value)
		}
	}
	return sent, log
}

func TestRFC8448(t *testing.T) {
	sent, log := readTrace(t)
	chunks := []chunk{c(sent[Client][:201]), s(sent[Server][:95+679]), c(sent[Client][201:]), s(sent[Server][95+679:])}
	want := make([]byte, 50)
	for i := range want {
		want[i] = byte(i)
	}
	for _, size := range []int{0, 1, 2, 3, 5, 64, 100} {
		p := decrypt(t, NewDecryption(storeOf(t, log), 0), chunks, size)
		for _, dir := range []Dir{Client, Server} {
			if diff := diffText(want, p.text[dir]); diff != "" || p.closed[dir] != 1 {
				t.Errorf("pieces of %d, %v: closed %d times, %s", size, dir, p.closed[dir], diff)
			}
		}
		// "client done" comes behind "decrypted" or before, as the pieces fall.
		wantEvents := []string{"client hello sni=server alpn= offers=", "server hello version=0304 alpn=", "client alert", "server alert"}
		var events []string
		for _, e := range p.events {
			if e != "decrypted" && !strings.Contains(e, "done") {
				events = append(events, e)
			}
		}
		if diff := cmp.Diff(wantEvents, events); diff != "" {
			t.Errorf("pieces of %d (-want +got):\n%s", size, diff)
		}
	}
}

// A sealer makes the records of one direction of TLS 1.3 with AES-128-GCM, by
// crypto/hkdf.
type sealer struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func expand(secret []byte, label string, n int) []byte {
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(6+len(label)))
	info = append(append(info, "tls13 "+label...), 0)
	b, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		panic(err)
	}
	return b
}

func newSealer(secret []byte) *sealer {
	block, err := aes.NewCipher(expand(secret, "key", 16))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &sealer{secret: secret, aead: aead, iv: expand(secret, "iv", 12)}
}

func (s *sealer) record(kind byte, content []byte, padding int) []byte {
	inner := append(append(bytes.Clone(content), kind), make([]byte, padding)...)
	n := len(inner) + 16
	head := []byte{23, 3, 3, byte(n >> 8), byte(n)}
	nonce := bytes.Clone(s.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^s.seq)
	s.seq++
	return s.aead.Seal(head, nonce, inner, head)
}

func (s *sealer) data(text string) []byte { return s.record(23, []byte(text), 0) }

// update makes a KeyUpdate and changes the keys.
func (s *sealer) update() []byte {
	r := s.record(22, message(typeKeyUpdate, 0), 0)
	*s = *newSealer(expand(s.secret, "traffic upd", 32))
	return r
}

// A session13 is a connection of TLS 1.3 that a test writes record by record.
type session13 struct {
	hello, answer  []byte // ClientHello; ServerHello to Finished
	finished       []byte // the client's
	client, server *sealer
	log            map[string]string // lines of a key log
}

func newSession13(random byte, helloExts ...[]byte) *session13 {
	r := bytes.Repeat([]byte{random}, randomSize)
	v := &session13{log: map[string]string{}}
	secret := func(label string, n byte) []byte {
		b := bytes.Repeat([]byte{n, random}, 16)
		v.log[label] = fmt.Sprintf("%s %x %x\n", label, r, b)
		return b
	}
	body := clientHelloBody("", append([][]byte{sni("a.example")}, helloExts...)...)
	copy(body[2:], r)
	v.hello = record(recordHandshake, message(typeClientHello, body...)...)
	hsServer := newSealer(secret("SERVER_HANDSHAKE_TRAFFIC_SECRET", 1))
	hsClient := newSealer(secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 2))
	v.answer = join(hello13, ccs,
		hsServer.record(22, message(typeEncryptedExtensions, vector16(alpn("http/1.1"))...), 0),
		hsServer.record(22, message(typeCertificate, make([]byte, 900)...), 0),
		hsServer.record(22, message(typeFinished, make([]byte, 32)...), 0))
	v.finished = join(ccs, hsClient.record(22, message(typeFinished, make([]byte, 32)...), 0))
	v.server = newSealer(secret("SERVER_TRAFFIC_SECRET_0", 3))
	v.client = newSealer(secret("CLIENT_TRAFFIC_SECRET_0", 4))
	return v
}

func (v *session13) keys(without ...string) []byte {
	var log []byte
	for label, line := range v.log {
		left := false
		for _, w := range without {
			left = left || w == label
		}
		if !left {
			log = append(log, line...)
		}
	}
	return log
}

func gapOf(dir Dir, n int) chunk { return chunk{dir: dir, gap: int64(n)} }

// TestDecrypter is connections record by record. Text is the client's plaintext, a
// gap's bytes as dots.
func TestDecrypter(t *testing.T) {
	tests := []struct {
		name   string
		chunks func(v *session13) []chunk
		client string
		server string
		state  State
		change func(v *session13) // of the key log
		stats  DecryptionStats
		loose  bool // depends on where chunks begin
	}{
		{name: "plain", chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer), c(v.finished, v.client.data("ask")), s(v.server.data("answer"))}
		}, client: "ask", server: "answer", stats: DecryptionStats{Opened: 6}},
		{name: "padding, empty records, several messages in a record", chunks: func(v *session13) []chunk {
			tickets := join(message(typeNewSessionTicket, 1, 2, 3), message(typeNewSessionTicket, 4))
			return []chunk{
				c(v.hello), s(v.answer), c(v.finished, v.client.record(23, []byte("ask"), 300)),
				s(v.server.record(22, tickets, 0), v.server.data(""), v.server.data("answer"), v.server.record(23, nil, 40)),
			}
		}, client: "ask", server: "answer", stats: DecryptionStats{Opened: 9}},
		{name: "a message over records", chunks: func(v *session13) []chunk {
			ticket := message(typeNewSessionTicket, make([]byte, 300)...)
			both := join(ticket, message(typeKeyUpdate, 0))
			records := join(v.server.record(22, both[:2], 0), v.server.record(22, both[2:200], 0), v.server.record(22, both[200:], 0))
			v.server = newSealer(expand(v.server.secret, "traffic upd", 32))
			return []chunk{c(v.hello), s(v.answer), c(v.finished), s(records, v.server.data("answer"))}
		}, server: "answer", stats: DecryptionStats{Opened: 8}},
		{name: "key updates", chunks: func(v *session13) []chunk {
			return []chunk{
				c(v.hello), s(v.answer), c(v.finished, v.client.data("a"), v.client.update(), v.client.data("b")),
				s(v.server.update(), v.server.update(), v.server.data("c")), c(v.client.update(), v.client.data("d")),
			}
		}, client: "abd", server: "c", stats: DecryptionStats{Opened: 12}},
		{name: "close_notify, and nothing is read behind it", chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer), c(v.finished, v.client.data("ask"), v.client.record(21, []byte{1, 0}, 0), v.client.data("more"))}
		}, client: "ask", stats: DecryptionStats{Opened: 7}},
		{name: "no keys", change: func(v *session13) { v.log = nil }, chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer), c(v.finished, v.client.data("ask"))}
		}, state: Missing},
		{name: "no key of the client", change: func(v *session13) { delete(v.log, "CLIENT_TRAFFIC_SECRET_0") }, chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer), c(v.finished, v.client.data("ask"))}
		}, state: Missing},
		{name: "no handshake secrets", change: func(v *session13) {
			delete(v.log, "CLIENT_HANDSHAKE_TRAFFIC_SECRET")
			delete(v.log, "SERVER_HANDSHAKE_TRAFFIC_SECRET")
		}, chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer), c(v.finished, v.client.data("ask")), s(v.server.data("answer"))}
		}, client: "ask", server: "answer", stats: DecryptionStats{Opened: 2, Failed: 4}},
		{name: "wrong keys", change: func(v *session13) {
			for label, line := range v.log {
				v.log[label] = line[:len(line)-3] + "00\n"
			}
		}, chunks: func(v *session13) []chunk {
			chunks := []chunk{c(v.hello), s(v.answer), c(v.finished)}
			for range 20 {
				chunks = append(chunks, c(v.client.data("ask")))
			}
			return chunks
		}, state: Mismatched, stats: DecryptionStats{Failed: 16}},
		{name: "wrong keys, few records", change: func(v *session13) {
			for label, line := range v.log {
				v.log[label] = line[:len(line)-3] + "00\n"
			}
		}, chunks: func(v *session13) []chunk { return []chunk{c(v.hello), s(v.answer)} },
			state: Mismatched, stats: DecryptionStats{Failed: 3}},
		{name: "a record that was changed", chunks: func(v *session13) []chunk {
			a, bad := v.client.data("a"), v.client.data("bad")
			bad[7] ^= 1
			return []chunk{c(v.hello), s(v.answer), c(v.finished, a, bad, v.client.data("b"))}
		}, client: "a...b", stats: DecryptionStats{Opened: 6, Failed: 1}},
		{name: "a version that is none", chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(record(recordHandshake, message(typeServerHello, serverHelloBody(0x0005, zeroRandom, "")...)...)), c(v.finished)}
		}, state: Missing, stats: DecryptionStats{Unsupported: 1}},
		{name: "no hello of the client", chunks: func(v *session13) []chunk {
			return []chunk{gapOf(Client, len(v.hello)), s(v.answer), c(v.finished, v.client.data("ask"))}
		}, state: Missing},
		{name: "no hello of the server", chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), gapOf(Server, len(v.answer)), c(v.finished, v.client.data("ask"))}
		}, state: Missing},
		{name: "the client's first", chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), c(v.finished, v.client.data("ask")), s(v.answer), s(v.server.data("answer"))}
		}, client: "ask", server: "answer", stats: DecryptionStats{Opened: 6}},
		{name: "the server's first", chunks: func(v *session13) []chunk {
			return []chunk{s(v.answer, v.server.data("answer")), c(v.hello, v.finished), c(v.client.data("ask"))}
		}, client: "ask", server: "answer", stats: DecryptionStats{Opened: 6}},

		{name: "gap in a record", chunks: func(v *session13) []chunk {
			r := v.client.data("a record that is cut")
			return []chunk{c(v.hello), s(v.answer), c(v.finished, r[:10]), gapOf(Client, 5), c(r[15:], v.client.data("ask"))}
		}, client: strings.Repeat(".", 20) + "ask", stats: DecryptionStats{Opened: 5, Lost: 1}},
		{name: "gap to a record's end", chunks: func(v *session13) []chunk {
			r := v.client.data("a record that is cut")
			return []chunk{c(v.hello), s(v.answer), c(v.finished, r[:10]), gapOf(Client, len(r)-10), c(v.client.data("ask"))}
		}, client: strings.Repeat(".", 20) + "ask", stats: DecryptionStats{Opened: 5, Lost: 1}},
		{name: "gap in a ticket", chunks: func(v *session13) []chunk {
			r := v.server.record(22, message(typeNewSessionTicket, make([]byte, 100)...), 0)
			return []chunk{c(v.hello), s(v.answer), c(v.finished), s(r[:10]), gapOf(Server, 5), s(r[15:], v.server.data("answer"))}
		}, server: "answer", stats: DecryptionStats{Opened: 5, Lost: 1}},
		{name: "gap in a key update", chunks: func(v *session13) []chunk {
			r := v.server.update()
			return []chunk{c(v.hello), s(v.answer), c(v.finished), s(r[:10]), gapOf(Server, 5), s(r[15:], v.server.data("answer"))}
		}, server: "*answer", stats: DecryptionStats{Opened: 5, Lost: 1}},
		{name: "gap in the certificate", chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer[:len(v.answer)-300]), gapOf(Server, 100), s(v.answer[len(v.answer)-200:]), c(v.finished, v.client.data("ask")), s(v.server.data("answer"))}
		}, client: "ask", server: "answer", stats: DecryptionStats{Opened: 5, Lost: 1}},
		{name: "gap over the server's flight", loose: true, chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer[:len(hello13)]), gapOf(Server, len(v.answer)-len(hello13)), c(v.finished, v.client.data("ask")), s(v.server.data("answer"))}
		}, client: "ask", server: "answer", stats: DecryptionStats{Opened: 3, Resumed: 1}},
		{name: "gap over the client's finished", loose: true, chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer), gapOf(Client, len(v.finished)), c(v.client.data("ask")), s(v.server.data("answer"))}
		}, client: "ask", server: "answer", stats: DecryptionStats{Opened: 5, Resumed: 1}},
		{name: "gap over records", loose: true, chunks: func(v *session13) []chunk {
			lost := join(v.client.data("one"), v.client.data("and two"), v.client.data("three"))
			return []chunk{c(v.hello), s(v.answer), c(v.finished), gapOf(Client, len(lost)), c(v.client.data("ask"))}
		}, client: strings.Repeat(".", 15) + "ask", stats: DecryptionStats{Opened: 5, Resumed: 1}},
		{name: "gap from within a record over others", loose: true, chunks: func(v *session13) []chunk {
			lost := join(v.client.data("one"), v.client.data("and two"), v.client.data("three"))
			return []chunk{c(v.hello), s(v.answer), c(v.finished, lost[:9]), gapOf(Client, len(lost)-9-4), c(lost[len(lost)-4:]), c(v.client.data("ask"))}
		}, client: strings.Repeat(".", 15) + "ask", stats: DecryptionStats{Opened: 5, Lost: 1, Resumed: 1}},
		{name: "gap over a key update", loose: true, chunks: func(v *session13) []chunk {
			lost := join(v.client.data("one"), v.client.update(), v.client.data("two"))
			return []chunk{c(v.hello), s(v.answer), c(v.finished), gapOf(Client, len(lost)), c(v.client.data("ask"))}
		}, client: "*ask", stats: DecryptionStats{Opened: 5, Resumed: 1}},
		{name: "not found again", loose: true, chunks: func(v *session13) []chunk {
			a, lost := v.client.data("a"), v.client.data("one")
			return []chunk{c(v.hello), s(v.answer), c(v.finished, a), gapOf(Client, len(lost)), c([]byte("...."))}
		}, client: "a*", stats: DecryptionStats{Opened: 5}},
		{name: "what looks like a record and is none", loose: true, chunks: func(v *session13) []chunk {
			lost := v.client.data("one")
			return []chunk{c(v.hello), s(v.answer), c(v.finished), gapOf(Client, len(lost)), c(data(40)), c(v.client.data("ask"))}
		}, client: "*ask", stats: DecryptionStats{Opened: 5, Failed: 1, Resumed: 1}},
		{name: "an end within a record", chunks: func(v *session13) []chunk {
			return []chunk{c(v.hello), s(v.answer), c(v.finished, v.client.data("ask and more")[:20])}
		}, client: "............", stats: DecryptionStats{Opened: 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.state == Waiting {
				tt.state = Decrypted
			}
			for _, size := range []int{0, 1, 2, 7, 64} {
				if tt.loose && size > 0 {
					continue
				}
				v := newSession13(9)
				if tt.change != nil {
					tt.change(v)
				}
				shared := NewDecryption(storeOf(t, v.keys()), 0)
				p := decrypt(t, shared, tt.chunks(v), size)
				if p.state[1] != tt.state {
					t.Errorf("%v, want %v: %v", p.state, tt.state, p.events)
				}
				for dir, want := range map[Dir]string{Client: tt.client, Server: tt.server} {
					got := strings.ReplaceAll(string(p.text[dir]), "\x00", ".")
					if head, tail, cut := strings.Cut(want, "*"); cut {
						if !strings.HasPrefix(got, head) || !strings.HasSuffix(got, tail) || strings.Trim(got[len(head):len(got)-len(tail)], ".") != "" || p.gaps[dir] == 0 {
							t.Errorf("pieces of %d, %v: %q, want %q", size, dir, got, want)
						}
					} else if got != want {
						t.Errorf("pieces of %d, %v: %q, want %q; %v", size, dir, got, want, p.events)
					}
					if tt.state == Decrypted && p.closed[dir] != 1 {
						t.Errorf("pieces of %d, %v: closed %d times", size, dir, p.closed[dir])
					}
				}
				shared.Stats.Opened += shared.Stats.Skipped // of the handshake
				shared.Stats.Skipped = 0
				if diff := cmp.Diff(tt.stats, shared.Stats); diff != "" {
					t.Errorf("pieces of %d (-want +got):\n%s", size, diff)
				}
			}
		})
	}
}

// TestLateKeys gives the lines of the key log at different times.
func TestLateKeys(t *testing.T) {
	const ms = int64(1e6)
	const ask = "ask, as long as a request"
	estimated := []string{"missing", "client data 42", "client end", "server data 23", "server end"}
	tests := []struct {
		name   string
		keysAt int64 // when the lines come
		ask    int64 // when the request comes
		last   int64 // and a packet after everything
		want   State
		at     []int64 // of plaintext, or of what is estimated
		late   uint64
	}{
		{"before", 0, 30 * ms, 60 * ms, Decrypted, []int64{30 * ms, 40 * ms}, 0},
		{"with the request", 30 * ms, 30 * ms, 60 * ms, Decrypted, []int64{30 * ms, 40 * ms}, 0},
		{"after the answer", 50 * ms, 30 * ms, 60 * ms, Decrypted, []int64{30 * ms, 40 * ms}, 0},
		{"at the end", 1e18, 30 * ms, 60 * ms, Missing, []int64{30 * ms, 30 * ms, 40 * ms, 40 * ms}, 0},
		{"2 s later", 3000 * ms, 30 * ms, 2020 * ms, Missing, []int64{30 * ms, 30 * ms, 40 * ms, 40 * ms}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newSession13(9)
			store := keylog.New(0)
			shared := NewDecryption(store, 0)
			p := &clocked{}
			d := shared.New(p, p)
			p.d = d
			for _, step := range []struct {
				at int64
				c  chunk
			}{
				{0, c(v.hello)}, {10 * ms, s(v.answer)}, {20 * ms, c(v.finished)}, {tt.ask, c(v.client.data(ask))},
				{tt.ask + 10*ms, s(v.server.data("answer"))}, {tt.last, c()},
			} {
				if step.at >= tt.keysAt {
					fill(store, v.keys())
				}
				if len(step.c.b) == 0 {
					d.Tick(step.at)
				} else {
					d.Data(step.c.dir, step.c.b, step.at)
				}
			}
			if tt.want == Decrypted && shared.Held() != 0 {
				t.Errorf("%d bytes are held", shared.Held())
			}
			d.End(tt.last)
			if d.State() != tt.want || shared.Held() != 0 || shared.Stats.Late != tt.late {
				t.Errorf("%v, %d bytes held, %+v", d.State(), shared.Held(), shared.Stats)
			}
			if diff := cmp.Diff(tt.at, p.at); diff != "" {
				t.Errorf("times (-want +got):\n%s", diff)
			}
			if tt.want == Missing {
				if diff := cmp.Diff(estimated, p.events); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if p.requests != 1 {
					t.Errorf("%d records that can hold a request", p.requests)
				}
			} else if diff := cmp.Diff(ask+"|answer", string(p.text[Client])+"|"+string(p.text[Server])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// clocked notes the time of plaintext and of what is estimated.
type clocked struct {
	plaintext
	at       []int64
	requests int
}

func (p *clocked) Data(from Dir, b []byte, at int64) {
	p.plaintext.Data(from, b, at)
	p.at = append(p.at, at)
}

func (p *clocked) TLS(from Dir, e Event, i *Info, at int64) {
	switch e {
	case ApplicationData, ApplicationEnd:
		p.at = append(p.at, at)
		if e == ApplicationData && from == Client && i.Request {
			p.requests++
		}
	case ClientHello, ServerHello, HandshakeDone:
		return
	default:
	}
	p.plaintext.TLS(from, e, i, at)
}

// TestHeldCaps gives connections without keys more than may wait.
func TestHeldCaps(t *testing.T) {
	store := keylog.New(0)
	shared := NewDecryption(store, 200<<10)
	var all []*Decrypter
	for n := range 5 {
		v := newSession13(byte(n))
		p := &plaintext{}
		p.d = shared.New(p, p)
		all = append(all, p.d)
		p.d.Data(Client, v.hello, 0)
		p.d.Data(Server, v.answer, 0)
		for range 50 {
			p.d.Data(Client, v.client.data(strings.Repeat("x", 1000)), 0)
		}
	}
	if shared.Held() > 200<<10 || shared.Stats.Full != 2 {
		t.Errorf("%d bytes held, %+v", shared.Held(), shared.Stats)
	}
	v := newSession13(99)
	p := &plaintext{}
	p.d = shared.New(p, p)
	all = append(all, p.d)
	p.d.Data(Client, v.hello, 0)
	p.d.Data(Server, v.answer, 0)
	held := shared.Held()
	for range 100 {
		p.d.Data(Client, v.client.data(strings.Repeat("x", 1000)), 0)
		if shared.Held()-held > maxWaiting {
			t.Fatalf("a connection holds %d bytes", shared.Held()-held)
		}
	}
	if p.d.State() != Missing {
		t.Error(p.d.State())
	}
	for _, d := range all {
		d.End(1)
	}
	if shared.Held() != 0 {
		t.Errorf("%d bytes held after the end", shared.Held())
	}
}

// TestHeldMessages gives connections more of handshake messages that do not come to an end
// than may be held.
func TestHeldMessages(t *testing.T) {
	const most = 100 << 10
	shared := NewDecryption(keylog.New(0), most)
	hello := append([]byte{22, 3, 1, 0x3e, 0x80, 1, 0, 0xff, 0xff, 3, 3}, make([]byte, 16_000-6)...)
	var all []*Decrypter
	for range 20 {
		p := &plaintext{}
		p.d = shared.New(p, p)
		all = append(all, p.d)
		for range 3 {
			p.d.Data(Client, hello, 0)
		}
	}
	if held := shared.Held(); held > most || held < most/2 || shared.Stats.Full == 0 {
		t.Errorf("%d bytes held, %+v", held, shared.Stats)
	}
	for _, d := range all {
		d.End(1)
	}
	if shared.Held() != 0 {
		t.Errorf("%d bytes held after the end", shared.Held())
	}
}

// TestNoRoom has records come in pieces when nothing more may be held: they are
// lost, and no more than they.
func TestNoRoom(t *testing.T) {
	v := newSession13(1)
	shared := NewDecryption(storeOf(t, v.keys()), 10)
	p := decrypt(t, shared, []chunk{c(v.hello), s(v.answer), c(v.finished, v.client.data("one")), c(v.client.data("two")[:10])}, 0)
	if string(p.text[Client]) != "one\x00\x00\x00" || shared.Stats.Full != 1 {
		t.Errorf("%q %+v", p.text[Client], shared.Stats)
	}
}

// TestSkip has the layer above need nothing of a body: those records are
// told, not decrypted, and what comes between and behind them is.
func TestSkip(t *testing.T) {
	for _, size := range []int{0, 1, 100, 1448} {
		v := newSession13(1)
		shared := NewDecryption(storeOf(t, v.keys()), 0)
		p := &plaintext{}
		d := shared.New(p, p)
		p.d = d
		give := func(dir Dir, b []byte) {
			for len(b) > 0 {
				n := len(b)
				if size > 0 {
					n = min(size, n)
				}
				d.Data(dir, b[:n], 0)
				b = b[n:]
			}
		}
		give(Client, v.hello)
		give(Server, v.answer)
		give(Client, join(v.finished, v.client.data("ask")))
		body := strings.Repeat("b", 16384)
		give(Server, v.server.data("head"))
		p.skip[Server] = 4*16384 + 10 + 1000
		give(Server, join(v.server.data(body), v.server.record(23, []byte(body)[:1000], 30), v.server.update(), v.server.data(body), v.server.data(body)))
		give(Server, join(v.server.record(22, message(typeNewSessionTicket, 1), 0), v.server.data(body), v.server.data("0123456789")))
		give(Server, join(v.server.data("next")))
		d.End(1)
		want := "head" + body + body[:1000] + body + body + body + "0123456789" + "next"
		got := p.text[Server]
		for i, b := range got {
			if b == 0 {
				got[i] = want[i]
			}
		}
		if diff := diffText([]byte(want), got); diff != "" || p.gaps[Server] > 0 {
			t.Errorf("pieces of %d: %s, %d bytes of gaps", size, diff, p.gaps[Server])
		}
		// The first after new keys is opened whatever it is.
		if shared.Stats.Skipped != 5+1 || shared.Stats.Failed+shared.Stats.Lost > 0 {
			t.Errorf("pieces of %d: %+v", size, shared.Stats)
		}
	}
}

// TestLongGap loses a thousand records of a body, and finds the next.
func TestLongGap(t *testing.T) {
	v := newSession13(1)
	shared := NewDecryption(storeOf(t, v.keys()), 0)
	p := &plaintext{}
	d := shared.New(p, p)
	p.d = d
	d.Data(Client, v.hello, 0)
	d.Data(Server, v.answer, 0)
	d.Data(Server, v.server.data("head"), 0)
	body := make([]byte, 16384)
	lost := int64(0)
	for range 1000 {
		lost += int64(len(v.server.record(23, body, 0)))
	}
	d.Gap(Server, lost, 0)
	d.Data(Server, v.server.data("tail"), 0)
	d.End(1)
	if !bytes.HasSuffix(p.text[Server], []byte("tail")) || p.gaps[Server] != 1000*16384 {
		t.Errorf("a gap of %d bytes, %+v", p.gaps[Server], shared.Stats)
	}
}

// TestRandomLoss loses segments at random: what is read stands where it belongs, and
// what is missing is told to the byte.
func TestRandomLoss(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(11, seed))
		v := newSession13(1)
		shared := NewDecryption(storeOf(t, v.keys()), 0)
		p := &plaintext{}
		d := shared.New(p, p)
		p.d = d
		d.Data(Client, v.hello, 0)
		d.Data(Server, v.answer, 0)
		var want []byte
		delivered := 0
		for range 200 {
			var burst []byte
			for range 1 + r.IntN(3) {
				content := make([]byte, 1+r.IntN(1<<(4+r.IntN(11))))
				for i := range content {
					content[i] = byte(1 + r.IntN(255))
				}
				want = append(want, content...)
				burst = append(burst, v.server.record(23, content, 0)...)
			}
			for len(burst) > 0 {
				n := min(1448, len(burst))
				if r.IntN(100) < 3 {
					d.Gap(Server, int64(n), 0)
				} else {
					d.Data(Server, burst[:n], 0)
				}
				burst = burst[n:]
			}
		}
		got := p.text[Server]
		if len(got) > len(want) {
			t.Fatalf("seed %d: %d bytes of %d", seed, len(got), len(want))
		}
		for i, b := range got {
			if b != 0 {
				delivered++
				if b != want[i] {
					t.Fatalf("seed %d: byte %d is wrong; %+v", seed, i, shared.Stats)
				}
			}
		}
		if delivered < len(want)/2 {
			t.Errorf("seed %d: only %d bytes of %d; %+v", seed, delivered, len(want), shared.Stats)
		}
		d.End(0)
	}
}

// TestPaddedUpdate hides a KeyUpdate in a record as long as a body's, which is not
// kept: the next record tells.
func TestPaddedUpdate(t *testing.T) {
	v := newSession13(1)
	shared := NewDecryption(storeOf(t, v.keys()), 0)
	p := &plaintext{}
	d := shared.New(p, p)
	p.d = d
	d.Data(Client, v.hello, 0)
	d.Data(Server, v.answer, 0)
	d.Data(Server, v.server.data("head"), 0)
	p.skip[Server] = 1 << 20
	long := v.server.record(22, message(typeKeyUpdate, 0), 5000)
	v.server = newSealer(expand(v.server.secret, "traffic upd", 32))
	d.Data(Server, long[:2000], 0)
	d.Data(Server, long[2000:], 0)
	d.Data(Server, v.server.data("next"), 0)
	d.End(1)
	if !strings.HasSuffix(string(p.text[Server]), "next") || shared.Stats.Failed > 0 {
		t.Errorf("%q %+v", p.text[Server], shared.Stats)
	}
}

// TestRecordTimes holds that a record that comes in pieces has the time of its first byte.
func TestRecordTimes(t *testing.T) {
	v := newSession13(1)
	shared := NewDecryption(storeOf(t, v.keys()), 0)
	p := &timed{}
	d := shared.New(p, p)
	p.d = d
	d.Data(Client, v.hello, 1)
	d.Data(Server, v.answer, 2)
	ask := join(v.finished, v.client.data("one"), v.client.data("two"))
	d.Data(Client, ask[:len(ask)-10], 3)
	d.Data(Client, ask[len(ask)-10:], 4)
	d.End(5)
	want := []string{"one at 3", "two at 3"}
	if diff := cmp.Diff(want, p.told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type timed struct {
	plaintext
	told []string
}

func (p *timed) Data(_ Dir, b []byte, at int64) {
	p.told = append(p.told, fmt.Sprintf("%s at %d", b, at))
}

// TestInside reads TLS inside TLS, as to a server through a proxy that is itself
// reached by TLS.
func TestInside(t *testing.T) {
	outer, inner := newSession13(1), newSession13(2)
	shared := NewDecryption(storeOf(t, append(outer.keys(), inner.keys()...)), 0)
	p := &plaintext{}
	in := shared.New(p, p)
	p.d = in
	d := shared.New(&nested{in}, &plaintext{})
	wrap := func(s *sealer, b []byte) []byte { return s.record(23, b, 0) }
	d.Data(Client, outer.hello, 0)
	d.listener = p
	d.Data(Server, outer.answer, 0)
	d.Data(Client, join(outer.finished, wrap(outer.client, inner.hello)), 0)
	d.Data(Server, wrap(outer.server, inner.answer), 0)
	d.Data(Client, wrap(outer.client, join(inner.finished, inner.client.data("ask"))), 0)
	d.Data(Server, wrap(outer.server, inner.server.data("answer")), 0)
	in.End(1)
	d.End(1)
	if string(p.text[Client]) != "ask" || string(p.text[Server]) != "answer" {
		t.Errorf("%q %q", p.text[Client], p.text[Server])
	}
}

type nested struct{ d *Decrypter }

func (n *nested) Data(from Dir, b []byte, at int64) { n.d.Data(from, b, at) }
func (n *nested) Gap(from Dir, k, at int64)         { n.d.Gap(from, k, at) }
func (n *nested) Close(from Dir, at int64)          { n.d.Close(from, at) }

// TestWiped holds that nothing of a connection's secrets and plaintext is left in what
// we keep when it is over.
func TestWiped(t *testing.T) {
	v := newSession13(7)
	store := storeOf(t, v.keys())
	shared := NewDecryption(store, 0)
	p := &plaintext{}
	d := shared.New(p, p)
	p.d = d
	for i, c := range []chunk{c(v.hello), s(v.answer), c(v.finished, v.client.data("ask")), s(v.server.data("answer"))} {
		d.Data(c.dir, c.b[:len(c.b)-3], int64(i))
		d.Data(c.dir, c.b[len(c.b)-3:], int64(i))
	}
	d.End(9)
	if d.half != [2]direction{} || d.hs != nil || d.wait != nil {
		t.Errorf("%+v", d)
	}
	for _, slot := range shared.ciphers {
		if slot.cipher != nil {
			t.Error("a cipher is kept")
		}
	}
	for _, b := range shared.plain {
		if b = b[:cap(b)]; !bytes.Equal(b, make([]byte, len(b))) {
			t.Error("plaintext is kept")
		}
	}
	if !bytes.Contains(fmt.Appendf(nil, "%v", shared.secrets), []byte("[{0 [0 0 0")) {
		t.Error("secrets are kept")
	}
	store.Sweep(1 << 62)
	if store.Stats().Randoms != 0 {
		t.Error("the store keeps what was used")
	}
}

func TestDecrypterSize(t *testing.T) {
	if n := unsafe.Sizeof(Decrypter{}); n > 528 {
		t.Errorf("a Decrypter takes %d bytes", n)
	}
	if n := unsafe.Sizeof(negotiation{}); n > 776 {
		t.Errorf("a negotiation takes %d bytes", n)
	}
}

// TestDecrypterAllocs holds that records are read without allocating.
func TestDecrypterAllocs(t *testing.T) {
	v := newSession13(1)
	shared := NewDecryption(storeOf(t, v.keys()), 0)
	p := &sinkConn{}
	d := shared.New(p, p)
	d.Data(Client, v.hello, 0)
	d.Data(Server, v.answer, 0)
	d.Data(Client, v.finished, 0)
	var records [][]byte
	for range 300 {
		records = append(records, v.client.data(strings.Repeat("x", 1100)))
	}
	i := 0
	if n := testing.AllocsPerRun(200, func() {
		d.Data(Client, records[i][:500], 0)
		d.Data(Client, records[i][500:], 0)
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if shared.Stats.Failed > 0 || p.n != i*1100 {
		t.Errorf("%d bytes, %+v", p.n, shared.Stats)
	}
}

// A sinkConn counts, and needs as much as it is told.
type sinkConn struct {
	n, skipped int
	room       int64
}

func (c *sinkConn) Data(_ Dir, b []byte, _ int64) { c.n += len(b) }
func (c *sinkConn) Gap(Dir, int64, int64)         {}
func (c *sinkConn) Close(Dir, int64)              {}
func (c *sinkConn) Skippable(Dir) int64           { return c.room }
func (c *sinkConn) Skip(_ Dir, n, _ int64)        { c.skipped += int(n) }
func (c *sinkConn) TLS(Dir, Event, *Info, int64)  {}

func benchmarkRecords(b *testing.B, size int, room int64, cut bool) {
	v := newSession13(1)
	shared := NewDecryption(storeOf(b, v.keys()), 0)
	p := &sinkConn{room: room}
	var records [][]byte
	base := *v.server
	for range 1000 {
		records = append(records, v.server.data(strings.Repeat("x", size)))
	}
	_ = base
	b.SetBytes(int64(size))
	var d *Decrypter
	i := 0
	for b.Loop() {
		if i%1000 == 0 {
			if d != nil {
				d.End(0)
			}
			d = shared.New(p, p)
			d.Data(Client, v.hello, 0)
			d.Data(Server, v.answer, 0)
			d.Data(Client, v.finished, 0)
		}
		r := records[i%1000]
		if cut {
			for len(r) > 1448 {
				d.Data(Server, r[:1448], 0)
				r = r[1448:]
			}
		}
		d.Data(Server, r, 0)
		i++
	}
	if shared.Stats.Failed > 0 {
		b.Fatalf("%+v", shared.Stats)
	}
}

func BenchmarkRecords(b *testing.B) {
	b.Run("1100 opened", func(b *testing.B) { benchmarkRecords(b, 1100, 0, false) })
	b.Run("16384 opened", func(b *testing.B) { benchmarkRecords(b, 16384, 0, true) })
	b.Run("16384 skipped", func(b *testing.B) { benchmarkRecords(b, 16384, 1<<40, true) })
}

// BenchmarkConnection is a connection of one request, from its ClientHello.
func BenchmarkConnection(b *testing.B) {
	v := newSession13(1)
	ask, answer := join(v.finished, v.client.data(strings.Repeat("q", 200))), v.server.data(strings.Repeat("a", 200))
	store := storeOf(b, v.keys())
	shared := NewDecryption(store, 0)
	p := &sinkConn{}
	b.Run("with keys", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d := shared.New(p, p)
			d.Data(Client, v.hello, 0)
			d.Data(Server, v.answer, 0)
			d.Data(Client, ask, 0)
			d.Data(Server, answer, 0)
			d.End(0)
		}
		if shared.Stats.Failed > 0 {
			b.Fatalf("%+v", shared.Stats)
		}
	})
	b.Run("observed", func(b *testing.B) {
		b.ReportAllocs()
		var i Info
		for b.Loop() {
			var o Observer
			for _, c := range []chunk{c(v.hello), s(v.answer), c(ask), s(answer)} {
				for b, e := c.b, Alert; e != NeedMore; {
					var n int
					n, e = o.Next(c.dir, b, &i)
					b = b[n:]
				}
			}
		}
	})
}

// FuzzRecords holds that any bytes after a real handshake, in any pieces, are read without a
// panic, that the pieces do not matter, and that nothing is held at the end.
func FuzzRecords(f *testing.F) {
	v := newSession13(9)
	f.Add(join(v.finished, v.client.data("ask")), join(v.answer, v.server.data("answer"), v.server.update()), uint8(3), uint16(0), uint16(0))
	v = newSession13(9)
	f.Add(join(v.finished, v.client.data("ask"), v.client.data("more")), join(v.answer, v.server.data("answer")), uint8(40), uint16(130), uint16(30))
	f.Add(join(ccs, record(22, 1, 2)), join(hello12, record(22, message(11, 1)...), ccs), uint8(0), uint16(0), uint16(7))
	f.Fuzz(damaged)
}

// TestDamage is FuzzRecords with changes that a seed decides.
func TestDamage(t *testing.T) {
	rounds := 300
	if s := os.Getenv("KEEPSCOPE_ROUNDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	for i := range rounds {
		r := rand.New(rand.NewPCG(3, uint64(i)))
		v := newSession13(9)
		client := join(v.finished, v.client.data("ask"), v.client.update(), v.client.data(strings.Repeat("more", 500)), v.client.data("again"))
		server := join(v.answer, v.server.data("answer"), v.server.update(), v.server.record(22, message(typeNewSessionTicket, 1, 2), 0), v.server.data("x"))
		for range r.IntN(4) {
			for _, b := range []*[]byte{&client, &server} {
				at := r.IntN(len(*b))
				n := r.IntN(min(len(*b)-at, 60))
				switch r.IntN(4) {
				case 0:
					(*b)[at] ^= byte(1 << r.IntN(8))
				case 1:
					*b = append((*b)[:at:at], (*b)[at+n:]...)
				case 2:
					*b = join((*b)[:at+n], (*b)[at:])
				}
			}
		}
		damaged(t, client, server, uint8(r.IntN(256)), uint16(r.IntN(len(client)+1)), uint16(r.IntN(400)))
		if t.Failed() {
			t.Fatalf("round %d", i)
		}
	}
}

// sessionDamaged is what damaged needs of a session: its start, its last record, and its
// keys, which fit TLS 1.2, too.
var sessionDamaged = sync.OnceValue(func() (d struct{ hello, last, keys []byte }) {
	v := newSession13(9)
	d.hello, d.last = v.hello, v.client.data("x")
	d.keys = append(v.keys(), fmt.Sprintf("CLIENT_RANDOM %x %x\n", bytes.Repeat([]byte{9}, 32), make([]byte, 48))...)
	return d
})

func damaged(t *testing.T, client, server []byte, size uint8, place, gap uint16) {
	v := sessionDamaged()
	store := storeOf(t, v.keys)
	shared := NewDecryption(store, 0)
	chunks := []chunk{c(v.hello), s(server), c(client)}
	whole := decrypt(t, shared, chunks, 0)
	pieces := decrypt(t, shared, chunks, int(size)+1)
	if !whole.lost && !pieces.lost {
		for _, dir := range []Dir{Client, Server} {
			if diff := diffText(whole.text[dir], pieces.text[dir]); diff != "" {
				t.Fatalf("pieces of %d, %v: %s", int(size)+1, dir, diff)
			}
		}
	}
	same := func() {
		var opened Opened
		openAhead(t, v.keys, chunks, &opened, true)
		sameAhead(t, v.keys, chunks, &opened)
	}
	same()
	at := min(int(place), len(client))
	to := min(at+int(gap), len(client))
	chunks = []chunk{c(v.hello), s(server), c(client[:at]), gapOf(Client, to-at), c(client[to:]), c(v.last)}
	decrypt(t, shared, chunks, 0)
	same()
	decrypt(t, NewDecryption(store, 1000), chunks, int(size)+1)
	late := keylog.New(0)
	shared = NewDecryption(late, 0)
	p := &plaintext{}
	d := shared.New(p, p)
	p.d = d
	for i, c := range chunks {
		d.Data(c.dir, c.b, int64(i))
		if i == 3 {
			fill(late, v.keys)
		}
	}
	d.End(9)
	if shared.Held() != 0 {
		t.Fatalf("%d bytes are held", shared.Held())
	}
}
