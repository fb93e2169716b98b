package tls

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// A chunk is bytes that one side sent, or, where gap is set, that many that
// were not captured.
type chunk struct {
	dir Dir
	b   []byte
	gap int64
}

// replay feeds chunks to a new Observer, in pieces of size where it is not 0,
// and tells the events one a line.
func replay(t testing.TB, chunks []chunk, size int) []string {
	t.Helper()
	var o Observer
	return feed(t, &o, chunks, size)
}

func feed(t testing.TB, o *Observer, chunks []chunk, size int) []string {
	var i Info
	var events []string
	for _, c := range chunks {
		for n := c.gap; n > 0; {
			k, e := o.Gap(c.dir, n, &i)
			if k < 0 || k > n {
				t.Fatalf("Gap took %d of %d", k, n)
			}
			n -= k
			if e == NeedMore {
				if n > 0 {
					t.Fatalf("Gap left %d of %d", n, c.gap)
				}
				break
			}
			events = append(events, describe(c.dir, e, &i))
		}
		for b := c.b; len(b) > 0; {
			piece := b
			if size > 0 {
				piece = b[:min(size, len(b))]
			}
			b = b[len(piece):]
			events = append(events, next(t, o, c.dir, piece, &i)...)
		}
	}
	return events
}

func next(t testing.TB, o *Observer, dir Dir, b []byte, i *Info) []string {
	var events []string
	for calls, limit := 0, 2*len(b)+4; ; calls++ {
		n, e := o.Next(dir, b, i)
		if n < 0 || n > len(b) || calls > limit {
			t.Fatalf("Next took %d of %d, call %d", n, len(b), calls)
		}
		b = b[n:]
		if e == NeedMore {
			if len(b) > 0 {
				t.Fatalf("Next wants more, with %d bytes left", len(b))
			}
			return events
		}
		events = append(events, describe(dir, e, i))
	}
}

func describe(dir Dir, e Event, i *Info) string {
	who := [2]string{"client", "server"}[dir]
	switch e {
	case ClientHello:
		var offers []string
		for _, f := range []struct {
			name string
			is   bool
		}{{"id", i.SessionID}, {"ticket", i.Ticket}, {"psk", i.PSK}, {"early", i.EarlyData}} {
			if f.is {
				offers = append(offers, f.name)
			}
		}
		return fmt.Sprintf("%s hello sni=%s alpn=%s offers=%s", who, i.SNI, i.Offered, strings.Join(offers, "+"))
	case HelloRetry:
		return who + " retry"
	case ServerHello:
		return fmt.Sprintf("%s hello version=%04x alpn=%s", who, i.Version, i.ALPN)
	case HandshakeDone:
		return fmt.Sprintf("%s done version=%04x resumed=%t", who, i.Version, i.Resumed)
	case ApplicationData:
		return fmt.Sprintf("%s data %d", who, i.Length)
	case ApplicationEnd:
		return who + " end"
	case Alert:
		return who + " alert"
	case MaybeAlert:
		return who + " alert?"
	case Lost:
		return who + " lost"
	}
	return who + " ?"
}

// record frames content; message frames a handshake message.
func record(kind byte, content ...byte) []byte {
	b := []byte{kind, 3, 3}
	b = binary.BigEndian.AppendUint16(b, uint16(len(content)))
	return append(b, content...)
}

func message(kind byte, body ...byte) []byte {
	n := len(body)
	return append([]byte{kind, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

func vector16(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func extension(id int, body ...byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(id)), vector16(body)...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func sni(name string) []byte {
	return extension(extServerName, vector16(append([]byte{0}, vector16([]byte(name))...))...)
}

func alpn(names ...string) []byte {
	var list []byte
	for _, n := range names {
		list = append(append(list, byte(len(n))), n...)
	}
	return extension(extALPN, vector16(list)...)
}

// clientHelloBody is a ClientHello with the extensions and session id given.
func clientHelloBody(id string, exts ...[]byte) []byte {
	b := append([]byte{3, 3}, make([]byte, randomSize)...)
	b = append(append(b, byte(len(id))), id...)
	b = append(b, 0, 2, 0x13, 0x01, 1, 0)
	return append(b, vector16(join(exts...))...)
}

func serverHelloBody(suite uint16, random []byte, id string, exts ...[]byte) []byte {
	b := append([]byte{3, 3}, random...)
	b = append(append(b, byte(len(id))), id...)
	b = append(binary.BigEndian.AppendUint16(b, suite), 0)
	if len(exts) == 0 {
		return b
	}
	return append(b, vector16(join(exts...))...)
}

var (
	zeroRandom = make([]byte, randomSize)
	tls13      = extension(extSupportedVersions, 3, 4)
	aHello     = record(recordHandshake, message(typeClientHello, clientHelloBody("", sni("a.example"))...)...)
	hello13    = record(recordHandshake, message(typeServerHello, serverHelloBody(0x1301, zeroRandom, "", tls13)...)...)
	hello12    = record(recordHandshake, message(typeServerHello, serverHelloBody(0xc02f, zeroRandom, "")...)...)
	ccs        = record(recordChangeCipherSpec, 1)
)

func data(n int) []byte { return record(recordApplicationData, make([]byte, n)...) }

func c(parts ...[]byte) chunk { return chunk{dir: Client, b: join(parts...)} }
func s(parts ...[]byte) chunk { return chunk{dir: Server, b: join(parts...)} }

const aHelloSeen = "client hello sni=a.example alpn= offers="

func TestObserver(t *testing.T) {
	retryHello := record(recordHandshake, message(typeServerHello, serverHelloBody(0x1301, retryRandom[:], "", tls13)...)...)
	earlyHello := record(recordHandshake, message(typeClientHello,
		clientHelloBody("", sni("a.example"), extension(extEarlyData), extension(extPreSharedKey, 1))...)...)
	psk13 := record(recordHandshake, message(typeServerHello,
		serverHelloBody(0x1302, zeroRandom, "", tls13, extension(extPreSharedKey, 0, 0))...)...)
	idHello := record(recordHandshake, message(typeClientHello, clientHelloBody("id", sni("a.example"))...)...)
	id12 := record(recordHandshake, message(typeServerHello, serverHelloBody(0xc02f, zeroRandom, "id")...)...)
	finished12 := record(recordHandshake, make([]byte, 40)...)
	certificate := record(recordHandshake, message(11, make([]byte, 300)...)...)
	const (
		hello13Seen = "server hello version=0304 alpn="
		hello12Seen = "server hello version=0303 alpn="
	)

	tests := []struct {
		name   string
		chunks []chunk
		want   []string
		loose  bool // depends on where chunks begin: rejoining
	}{
		{name: "nothing"},
		{name: "http", chunks: []chunk{c([]byte("GET / HTTP/1.1\r\n")), s([]byte("HTTP/1.1 200 OK\r\n"))}, want: []string{"client lost"}},
		{name: "never again after not tls", chunks: []chunk{c([]byte("GET / HTTP/1.1\r\n")), c(aHello), s(hello13)}, want: []string{"client lost"}},
		{name: "handshake record that is no hello", chunks: []chunk{c(certificate)}, want: []string{"client lost"}},
		{name: "tls 1.3", chunks: []chunk{
			c(aHello), s(hello13, ccs, data(500), data(53)), c(ccs, data(53)), s(data(200), data(200)),
			c(data(100)), s(data(1000), data(0)), c(data(19)), s(data(19)),
		}, want: []string{
			aHelloSeen, hello13Seen, "client done version=0304 resumed=false",
			"client data 100", "client end", "server data 1000", "server end", "server data 0", "server end",
			"client alert?", "server alert?",
		}},
		{name: "tickets after the request", chunks: []chunk{
			c(aHello), s(hello13, data(500)), c(data(53), data(100)), s(data(200), data(1000)),
		}, want: []string{
			aHelloSeen, hello13Seen, "client done version=0304 resumed=false",
			"client data 100", "client end", "server data 200", "server end", "server data 1000", "server end",
		}},
		{name: "client certificate", chunks: []chunk{
			c(aHello), s(hello13, data(500)), c(data(900), data(300), data(53)), c(data(100)), s(data(200)),
		}, want: []string{
			aHelloSeen, hello13Seen, "client done version=0304 resumed=false",
			"client data 100", "client end", "server data 200", "server end",
		}},
		{name: "client certificate and finished in one record", chunks: []chunk{
			c(aHello), s(hello13, data(500)), c(data(1200)), s(data(200)), c(data(100)), s(data(200)),
		}, want: []string{
			aHelloSeen, hello13Seen, "client done version=0304 resumed=false",
			"client data 100", "client end", "server data 200", "server end",
		}},
		{name: "client refuses the certificate", chunks: []chunk{c(aHello), s(hello13, data(500)), c(data(19))}, want: []string{
			aHelloSeen, hello13Seen, "client alert?",
		}},
		{name: "early data", chunks: []chunk{
			c(earlyHello, ccs, data(300)), s(psk13, data(40), data(69), data(700)), c(data(21), data(69)), s(data(100)), c(data(50)), s(data(60)),
		}, want: []string{
			"client hello sni=a.example alpn= offers=psk+early", "client data 300", "client end",
			"server hello version=0304 alpn=", "server data 700", "server end",
			"client done version=0304 resumed=true", "server data 100", "server end",
			"client data 50", "client end", "server data 60", "server end",
		}},
		{name: "hello retry", chunks: []chunk{
			c(aHello), s(retryHello, ccs), c(ccs, aHello), s(hello13, data(500)), c(data(53)),
		}, want: []string{
			aHelloSeen, "server retry", hello13Seen, "client done version=0304 resumed=false",
		}},
		{name: "hello retry twice", chunks: []chunk{c(aHello), s(retryHello), s(retryHello), c(data(53))}, want: []string{
			aHelloSeen, "server retry", "server lost",
		}},
		{name: "tls 1.2 full", chunks: []chunk{
			c(aHello), s(hello12, certificate), c(record(recordHandshake, message(16, 1, 2)...), ccs, finished12),
			s(ccs, finished12), c(data(100)), s(data(200)), s(record(recordAlert, make([]byte, 26)...)),
		}, want: []string{
			aHelloSeen, hello12Seen, "server done version=0303 resumed=false",
			"client data 100", "client end", "server data 200", "server end", "server alert",
		}},
		{name: "tls 1.2 resumed by id", chunks: []chunk{c(idHello), s(id12, ccs, finished12), c(ccs, finished12)}, want: []string{
			"client hello sni=a.example alpn= offers=id", hello12Seen, "client done version=0303 resumed=true",
		}},
		{name: "tls 1.2 id echoed, resumed or not unseen", chunks: []chunk{
			c(idHello), s(id12, []byte{22, 3, 3, 0, 9}), {dir: Server, gap: 9}, s(ccs), c(ccs, finished12),
		}, want: []string{
			"client hello sni=a.example alpn= offers=id", hello12Seen, "client done version=0303 resumed=true",
		}},
		{name: "tls 1.2 resumed by ticket, renewed", chunks: []chunk{
			c(aHello), s(hello12, record(recordHandshake, message(typeNewSessionTicket, 1)...), ccs, finished12), c(ccs, finished12),
		}, want: []string{aHelloSeen, hello12Seen, "client done version=0303 resumed=true"}},
		{name: "tls 1.2 all in one record", chunks: []chunk{
			c(aHello), s(record(recordHandshake, append(bytes.Clone(hello12[headSize:]), certificate[headSize:]...)...)), c(ccs, finished12), s(ccs, finished12),
		}, want: []string{aHelloSeen, hello12Seen, "server done version=0303 resumed=false"}},
		{name: "tls 1.2 false start", chunks: []chunk{
			c(aHello), s(hello12, certificate), c(ccs, finished12, data(100)), s(ccs, finished12, data(200)),
		}, want: []string{
			aHelloSeen, hello12Seen, "client done version=0303 resumed=false",
			"client data 100", "client end", "server data 200", "server end",
		}},
		{name: "handshake failure", chunks: []chunk{c(aHello), s(record(recordAlert, 2, 40))}, want: []string{aHelloSeen, "server alert"}},
		{name: "record too long", chunks: []chunk{c(aHello), s([]byte{22, 3, 3, 0xff, 0xff, 2})}, want: []string{aHelloSeen, "server lost"}},
		{name: "empty records", chunks: []chunk{c(aHello, record(recordHandshake), record(recordHandshake)), s(record(recordHandshake), hello13)}, want: []string{aHelloSeen, hello13Seen}},
		{name: "hello over records", chunks: []chunk{
			c(record(22, aHello[5:7]...), record(22, aHello[7:20]...), record(22, aHello[20:]...)), s(hello13),
		}, want: []string{aHelloSeen, hello13Seen}},
		{name: "server side only", chunks: []chunk{s(hello13, data(500), data(200)), s(data(100))}, want: []string{hello13Seen}},
		{name: "client side only, tls 1.3", chunks: []chunk{c(aHello, ccs, data(53), data(100))}, want: []string{
			aHelloSeen, "client done version=0000 resumed=false", "client data 100", "client end",
		}},
		{name: "client side only, tls 1.2", chunks: []chunk{c(aHello, record(22, message(16, 1, 2)...), ccs, finished12, data(100))}, want: []string{
			aHelloSeen, "client done version=0000 resumed=false", "client data 100", "client end",
		}},
		{name: "tls 1.2 finished not captured", loose: true, chunks: []chunk{
			c(aHello), s(hello12), {dir: Client, gap: 200}, c(data(100)),
		}, want: []string{aHelloSeen, hello12Seen, "client lost", "client done version=0303 resumed=false", "client data 100", "client end"}},

		{name: "gap in a certificate", chunks: []chunk{
			c(aHello), s(hello12, certificate[:20]), {dir: Server, gap: int64(len(certificate) - 20)}, c(ccs, finished12), s(ccs, finished12),
		}, want: []string{aHelloSeen, hello12Seen, "server done version=0303 resumed=false"}},
		{name: "gap in application data", chunks: []chunk{
			c(aHello), s(hello13), c(data(53), data(100)), s(data(1000)[:305]), {dir: Server, gap: 700}, s(data(705)[:5]), {dir: Server, gap: 705}, s(data(9)),
		}, want: []string{
			aHelloSeen, hello13Seen, "client done version=0304 resumed=false", "client data 100", "client end",
			"server data 1000", "server end", "server data 705", "server end", "server data 9", "server end",
		}},
		{name: "gap over a record's end", loose: true, chunks: []chunk{
			c(aHello), s(hello13), c(data(53), data(100)), s(data(1000)[:305]), {dir: Server, gap: 800}, s([]byte("....")), s(data(9)),
		}, want: []string{
			aHelloSeen, hello13Seen, "client done version=0304 resumed=false", "client data 100", "client end",
			"server data 1000", "server end", "server lost", "server data 9", "server end",
		}},
		{name: "gap in a client hello", chunks: []chunk{
			c(aHello[:len(aHello)-2]), {dir: Client, gap: 2}, s(hello13), c(data(53)),
		}, want: []string{
			"client hello sni= alpn= offers=", hello13Seen, "client done version=0304 resumed=false",
		}},
		{name: "gap in a client hello's end, after sni", chunks: []chunk{
			c(record(22, message(1, clientHelloBody("", sni("a.example"), extension(21, make([]byte, 300)...))...)...)[:200]),
			{dir: Client, gap: 174}, s(hello13), c(data(53)),
		}, want: []string{aHelloSeen, hello13Seen, "client done version=0304 resumed=false"}},
		{name: "gap from a client hello into what follows", loose: true, chunks: []chunk{
			c(aHello[:len(aHello)-2]), {dir: Client, gap: 20}, s(hello13), c(data(53)),
		}, want: []string{
			"client hello sni= alpn= offers=", "client lost", hello13Seen, "client done version=0304 resumed=false",
		}},
		{name: "gap in a server hello", chunks: []chunk{
			c(aHello), s(hello13[:50]), {dir: Server, gap: int64(len(hello13) - 50)}, s(data(500)), c(ccs, data(53), data(100)), s(data(100)),
		}, want: []string{
			aHelloSeen, "client done version=0000 resumed=false", "client data 100", "client end", "server data 100", "server end",
		}},
		{name: "gap for a client hello", loose: true, chunks: []chunk{
			{dir: Client, gap: 500}, s(hello13), c(data(53)),
		}, want: []string{"client lost", hello13Seen, "client done version=0304 resumed=false"}},
		{name: "gap within a record's head", loose: true, chunks: []chunk{
			c(aHello, []byte{20, 3}), {dir: Client, gap: 1}, s(hello13), c(data(53)),
		}, want: []string{aHelloSeen, "client lost", hello13Seen, "client done version=0304 resumed=false"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, replay(t, tt.chunks, 0)); diff != "" {
				t.Errorf("whole (-want +got):\n%s", diff)
			}
			if tt.loose {
				return
			}
			for _, size := range []int{1, 2, 3, 7, 64} {
				if diff := cmp.Diff(tt.want, replay(t, tt.chunks, size)); diff != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", size, diff)
				}
			}
		})
	}
}

func TestMidstream(t *testing.T) {
	var o Observer
	o.Midstream()
	got := feed(t, &o, []chunk{s(data(70)), c(data(100)), s(data(200)), s(record(recordAlert, make([]byte, 26)...))}, 0)
	want := []string{"client data 100", "client end", "server data 200", "server end", "server alert"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClientHelloFields(t *testing.T) {
	long := strings.Repeat("a", 250)
	tests := []struct {
		name string
		body []byte
		want string
	}{
		{"lower case, final dot", clientHelloBody("", sni("Shop.EXAMPLE.")), "client hello sni=shop.example alpn= offers="},
		{"underscore", clientHelloBody("", sni("_a.example")), "client hello sni=_a.example alpn= offers="},
		{"no host name", clientHelloBody("", sni("a b\n")), "client hello sni= alpn= offers="},
		{"255 bytes", clientHelloBody("", sni(long+".bcde")), "client hello sni=" + long + ".bcde alpn= offers="},
		{"256 bytes", clientHelloBody("", sni(long+".bcdef")), "client hello sni= alpn= offers="},
		{"sni vector longer than extension", clientHelloBody("", extension(extServerName, 0xff, 0xff, 0, 0xff, 0xff, 'a')), "client hello sni= alpn= offers="},
		{"other name type first", clientHelloBody("", extension(extServerName, vector16([]byte{7, 0, 1, 'x', 0, 0, 1, 'y'})...)), "client hello sni=y alpn= offers="},
		{"alpn with grease", clientHelloBody("", alpn("\x0a\x0a", "h2", "a,b", "http/1.1")), "client hello sni= alpn=h2,http/1.1 offers="},
		{"alpn at the cap", clientHelloBody("", alpn(long, "abcd", "abcde", "abc")), "client hello sni= alpn=" + long + ",abcd offers="},
		{"alpn with an empty name", clientHelloBody("", alpn("", "h2")), "client hello sni= alpn=h2 offers="},
		{"all offers", clientHelloBody("x", extension(extSessionTicket, 1), extension(extEarlyData), extension(extPreSharedKey)), "client hello sni= alpn= offers=id+ticket+psk+early"},
		{"ticket supported only", clientHelloBody("", extension(extSessionTicket)), "client hello sni= alpn= offers="},
		{"no extensions", clientHelloBody("")[:2+randomSize+1+4+2], "client hello sni= alpn= offers="},
		{"empty", nil, "client hello sni= alpn= offers="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := replay(t, []chunk{c(record(recordHandshake, message(typeClientHello, tt.body...)...))}, 0)
			if diff := cmp.Diff([]string{tt.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestHelloCap sends a hello larger than the cap, and one that claims 16 MiB:
// it is read up to the cap, and no more than the cap is buffered.
func TestHelloCap(t *testing.T) {
	hello := clientHelloBody("", sni("a.example"))
	msg := append([]byte{typeClientHello, 0xff, 0xff, 0xff}, hello...)
	msg = append(msg, make([]byte, 40000)...)
	var o Observer
	var i Info
	var events []string
	for len(msg) > 0 {
		n := min(1400, len(msg))
		events = append(events, next(t, &o, Client, record(recordHandshake, msg[:n]...), &i)...)
		msg = msg[n:]
		if o.partial != nil && len(o.partial.buf) > maxHello {
			t.Fatalf("%d bytes buffered", len(o.partial.buf))
		}
	}
	events = append(events, next(t, &o, Server, hello13, &i)...)
	want := []string{aHelloSeen, "server hello version=0304 alpn="}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o.partial != nil {
		t.Error("the buffer is kept")
	}
}

// TestHellosCap sends hellos in pieces on two connections for which there is room for
// one: of the other what its first piece holds is read, and all room is given back.
func TestHellosCap(t *testing.T) {
	msg := append([]byte{typeClientHello, 0, 0x20, 0}, clientHelloBody("", sni("a.example"))...)
	msg = append(msg, make([]byte, 1000)...)
	shared := &Hellos{Max: 2000}
	one, other := Observer{Hellos: shared}, Observer{Hellos: shared}
	var i Info
	if events := next(t, &one, Client, record(recordHandshake, msg...), &i); events != nil {
		t.Errorf("half of a hello tells %q", events)
	}
	if diff := cmp.Diff([]string{aHelloSeen}, next(t, &other, Client, record(recordHandshake, msg...), &i)); diff != "" {
		t.Errorf("without room (-want +got):\n%s", diff)
	}
	if shared.Full != 1 || shared.held < int64(len(msg)) || other.partial != nil {
		t.Errorf("full %d times, %d bytes held, the other one %v", shared.Full, shared.held, other.partial)
	}
	one.Release()
	if shared.held != 0 {
		t.Errorf("%d bytes are held by nobody", shared.held)
	}
}

func TestIsClientHello(t *testing.T) {
	for n := 1; n <= len(aHello); n++ {
		if !IsClientHello(aHello[:n]) {
			t.Errorf("the first %d bytes are refused", n)
		}
	}
	for _, b := range []string{
		"", "GET / HTTP/1.1\r\n\r\n", "\x17\x03\x03\x00\x20", "\x16\x02\x00", "\x16\x03\x05", "\x16\x03\x01\x00\x00",
		"\x16\x03\x01\x80\x00", "\x16\x03\x01\x00\x20\x02", "\x16\x03\x01\x00\x20\x01\x01", "\x16\x03\x01\x00\x20\x01\x00\x00\x1c\x02",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
	} {
		if IsClientHello([]byte(b)) {
			t.Errorf("%q is accepted", b)
		}
	}
	if !IsApplicationData(data(9)) || IsApplicationData(aHello) || IsApplicationData(data(9)[:4]) {
		t.Error("IsApplicationData is wrong")
	}
}

func TestObserverSize(t *testing.T) {
	if n := unsafe.Sizeof(Observer{}); n > 48 {
		t.Errorf("an Observer takes %d bytes", n)
	}
}

// TestAllocs holds that neither a handshake whose hellos come in one piece nor
// application data allocates, once an Info has its memory.
func TestAllocs(t *testing.T) {
	chunks := []chunk{
		c(record(recordHandshake, message(typeClientHello, clientHelloBody("", sni("a.example"), alpn("h2", "http/1.1"))...)...)),
		s(hello13, ccs, data(500)), c(ccs, data(53), data(100)), s(data(1000)), c([]byte{1}),
	}
	var i Info
	run := func() {
		var o Observer
		for _, ch := range chunks {
			for b, e := ch.b, Alert; e != NeedMore; {
				var n int
				n, e = o.Next(ch.dir, b, &i)
				b = b[n:]
			}
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzObserver holds that any bytes in any pieces are read without a panic, and
// that the pieces do not matter until a direction is lost.
func FuzzObserver(f *testing.F) {
	f.Add(join(aHello, ccs, data(53), data(100)), join(hello13, ccs, data(53)), uint8(1), uint16(0))
	f.Add(join(aHello, ccs, record(22, 1, 2, 3)), join(hello12, record(22, message(11, 1)...)), uint8(7), uint16(300))
	f.Fuzz(func(t *testing.T, client, server []byte, size uint8, gap uint16) {
		// The client's hello goes first, as on any wire.
		head := client[:min(len(client), len(aHello))]
		chunks := []chunk{c(head), s(server), c(client[len(head):])}
		whole := replay(t, chunks, 0)
		pieces := replay(t, chunks, int(size)+1)
		if diff := cmp.Diff(untilLost(whole), untilLost(pieces)); diff != "" {
			t.Fatalf("pieces of %d matter (-whole +pieces):\n%s", int(size)+1, diff)
		}
		gaps := []chunk{c(head), {dir: Server, gap: int64(gap)}, s(server), {dir: Client, gap: int64(gap)}, c(client[len(head):]), s(server)}
		replay(t, gaps, 0)
		replay(t, gaps, int(size)+1)
	})
}

func untilLost(events []string) []string {
	for i, e := range events {
		if strings.HasSuffix(e, " lost") {
			return events[:i]
		}
	}
	return events
}

// TestMeasure says what records can hold by their lengths.
func TestMeasure(t *testing.T) {
	h2Hello := record(recordHandshake, message(typeClientHello, clientHelloBody("", sni("a.example"), alpn("h2", "http/1.1"))...)...)
	h2Only12 := record(recordHandshake, message(typeServerHello, serverHelloBody(0xc02f, zeroRandom, "", alpn("h2"))...)...)
	type told struct {
		Content                 uint16
		Request, Interim, HTTP2 bool
	}
	start13 := func(ee int) []chunk {
		return []chunk{c(h2Hello), s(hello13, data(ee), data(53)), c(data(53))}
	}
	tests := []struct {
		name   string
		chunks []chunk
		want   []told
	}{
		{"http/1.1 chosen, though the length would do", append(start13(42), c(data(81)), s(data(42))), []told{{64, true, false, false}, {25, false, true, false}}},
		{"h2 chosen: curl", append(start13(36), c(data(81)), c(data(60)), c(data(9+17)), c(data(13+17)), c(data(26+17)), c(data(30+17)), c(data(17+17))),
			[]told{{64, false, false, true}, {43, true, false, true}, {9, false, false, true}, {13, false, false, true}, {26, false, false, true}, {30, false, false, true}, {17, false, false, true}}},
		{"h2 chosen: preface, SETTINGS and request at once", append(start13(32), c(data(200))), []told{{183, true, false, true}}},
		{"unknown, begins like HTTP/2", append(start13(900), c(data(24+17)), c(data(31+17))), []told{{24, true, false, false}, {31, false, false, true}}},
		{"unknown, does not", append(start13(900), c(data(150))), []told{{133, true, false, false}}},
		{"a WebSocket's closing", append(start13(42), c(data(150)), c(data(8+17))), []told{{133, true, false, false}, {8, false, false, false}}},
		{"tls 1.2 with h2", []chunk{c(h2Hello), s(h2Only12, record(22, message(11, 1)...)), c(ccs, record(22, make([]byte, 40)...)), s(ccs, record(22, make([]byte, 40)...)), c(data(64 + 24)), c(data(9 + 24))},
			[]told{{64, false, false, true}, {9, false, false, true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o Observer
			var i Info
			var got []told
			for _, ch := range tt.chunks {
				for b := ch.b; ; {
					n, e := o.Next(ch.dir, b, &i)
					b = b[n:]
					if e == NeedMore {
						break
					}
					if e == ApplicationData {
						got = append(got, told{i.Content, i.Request, i.Interim, o.LooksHTTP2()})
					}
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
