package http2

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/analyzer/http"
)

func TestRecognise(t *testing.T) {
	body := strings.Repeat("x", 2000)
	for _, c := range []struct {
		name, in string
		want     bool
	}{
		{"nothing", "", false},
		{"preface", Preface, true},
		{"preface's first line", Preface[:prefaceLine], true},
		{"preface cut", Preface[:prefaceLine-1], false},
		{"POST", "POST / HTTP/1.1\r\nHost: a\r\n\r\n", false},
		{"PRI of something else", "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n", false},
		{"request", headsEnd(5, get), true},
		{"request and a frame that is cut", headsEnd(5, get) + data(5, body)[:100], true},
		{"request and a head that is cut", headsEnd(5, get) + data(5, body)[:4], true},
		{"request and something else", headsEnd(5, get) + "HTTP/1.1 ", false},
		{"request and a few other bytes", headsEnd(5, get) + "abc", false},
		{"response with the beginning of its body", heads(5, ok) + data(5, body)[:1000], true},
		{"one DATA that is cut", data(5, body)[:1460], false},
		{"one DATA", dataEnd(5, body), false},
		{"DATA and more", dataEnd(5, body) + rst(5, 0), true},
		{"DATA on stream 0", data(0, "abc"), false},
		{"DATA with a flag of HEADERS", frame(dataFrame, flagEndHeaders, 5, "abc"), false},
		{"DATA padded", frame(dataFrame, flagPadded, 5, "\x01x\x00") + rst(5, 0), true},
		{"DATA with more padding than it has", frame(dataFrame, flagPadded, 5, "\x03x\x00") + rst(5, 0), false},
		{"DATA longer than the default", data(5, strings.Repeat("x", minLimit+1)), false},
		{"empty frames", ack + noSettings + dataEnd(5, ""), false},
		{"acknowledgement and request", ack + headsEnd(5, get), true},
		{"settings", frame(settingsFrame, 0, 0, setting(3, 100)), true},
		{"settings of a stream", frame(settingsFrame, 0, 1, setting(3, 100)), false},
		{"settings of a length that is none", frame(settingsFrame, 0, 0, "12345"), false},
		{"settings acknowledged, with a payload", frame(settingsFrame, flagACK, 0, setting(3, 100)), false},
		{"ping", frame(pingFrame, 0, 0, "12345678"), true},
		{"ping of 7", frame(pingFrame, 0, 0, "1234567"), false},
		{"window update of the connection", frame(windowUpdateFrame, 0, 0, be32(5)), true},
		{"window update of a stream", frame(windowUpdateFrame, 0, 5, be32(5)), true},
		{"window update of nothing", frame(windowUpdateFrame, 0, 0, be32(0)), false},
		{"window update with the reserved bit", frame(windowUpdateFrame, 0, 0, be32(1<<31|5)), false},
		{"goaway", frame(goawayFrame, 0, 0, be32(5)+be32(0)), true},
		{"goaway of a code that is none", frame(goawayFrame, 0, 0, be32(5)+be32(99)), false},
		{"reset", rst(5, http.Cancel), true},
		{"reset of a code that is none", rst(5, 14), false},
		{"priority", frame(priorityFrame, 0, 5, "12345"), true},
		{"push", frame(pushPromiseFrame, flagEndHeaders, 5, be32(2)+get), true},
		{"continuation", frame(continuationFrame, flagEndHeaders, 5, get), false},
		{"headers continued", frame(headersFrame, 0, 5, get) + frame(continuationFrame, flagEndHeaders, 5, get), false},
		{"headers continued, and more", frame(headersFrame, 0, 5, get) + frame(continuationFrame, flagEndHeaders, 5, get) + rst(5, 0), true},
		{"headers continued on another stream", frame(headersFrame, 0, 5, get) + frame(continuationFrame, flagEndHeaders, 7, get), false},
		{"headers not continued", frame(headersFrame, 0, 5, get) + data(5, "x"), false},
		{"headers that are no block", heads(5, "\x80"), false},
		{"headers with a string that is cut", heads(5, "\x00\x05a"), false},
		{"headers with a value that is cut", heads(5, "\x41\x05a"), false},
		{"headers without a value", heads(5, "\x41"), false},
		{"headers with an index that is cut", heads(5, "\xff"), false},
		{"headers with a name's index that is cut", heads(5, "\x7f"), false},
		{"headers with a resize that is cut", heads(5, "\x3f"), false},
		{"headers of unknown indices", heads(5, "\xff\x10\x3f\xe1\x1f\x7e\x01a\x0f\x20\x01b"), true},
		{"reserved bit", headsEnd(1<<31|5, get), false},
		{"a type that is not defined", frame(0xfa, 0, 5, "grease"), false},
		{"zeros", strings.Repeat("\x00", 1460), false},
		{"many", strings.Repeat(headsEnd(5, get), 100), true},
		{"many, and garbage beyond what is looked at", strings.Repeat(headsEnd(5, get), maxLook) + "garbage", true},
		{"HTTP/1", "HTTP/1.1 200 OK\r\n\r\n", false},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + body, false},
		{"DNS over TCP", "\x00\x1d\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01", false},
		{"PostgreSQL", "\x00\x00\x00\x08\x04\xd2\x16\x2f", false},
		{"BitTorrent", "\x00\x00\x00\x05\x04\x00\x00\x00\x07\x00\x00\x00\x05\x04\x00\x00\x00\x08", false},
		{"SMB", "\x00\x00\x00\x2f\xffSMBr\x00\x00\x00\x00\x18\x01\x28", false},
		{"MySQL", "\x01\x00\x00\x00\x0e", false},
	} {
		if got := Recognise([]byte(c.in)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSender(t *testing.T) {
	for _, c := range []struct {
		name, in string
		side     http.Side
		ok       bool
	}{
		{"preface", Preface, http.Client, true},
		{"request", headsEnd(5, get), http.Client, true},
		{"request after others", ack + frame(pingFrame, 0, 0, "12345678") + headsEnd(5, "\x3f\xe1\x1f\x84"), http.Client, true},
		{"request by literals", headsEnd(5, "\x41\x01a"), http.Client, true},
		{"request by literals without index", headsEnd(5, "\x02\x03PUT"), http.Client, true},
		{"response", heads(5, ok), http.Server, true},
		{"response by a literal", heads(5, "\x48\x03302"), http.Server, true},
		{"response to another, trailers first", headsEnd(3, fields("grpc-status", "0")) + heads(5, notFound), http.Server, true},
		{"push", frame(pushPromiseFrame, flagEndHeaders, 5, be32(2)+get), http.Server, true},
		{"unknown index", heads(5, "\xbe"), http.Client, false},
		{"trailers", headsEnd(5, "\x40\x0bgrpc-status\x010"), http.Client, false},
		{"no field", headsEnd(5, "\x20"), http.Client, false},
		{"a resize that is cut", headsEnd(5, "\x3f"), http.Client, false},
		{"settings", noSettings, http.Client, false},
		{"a block that is cut", headsEnd(5, get+hostA)[:11], http.Client, false},
		{"nothing", "", http.Client, false},
	} {
		if side, ok := Sender([]byte(c.in)); side != c.side || ok != c.ok {
			t.Errorf("%s: %v %v, want %v %v", c.name, side, ok, c.side, c.ok)
		}
	}
}

// TestRecogniseRandom holds that random bytes are nothing, and of those whose every third and fourth
// are random, as in protocols that begin with lengths of four bytes, less than one in 100 000.
func TestRecogniseRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 64)
	const n = 1_000_000
	for _, c := range []struct{ zeros, most int }{{0, 0}, {2, n / 100_000}} {
		yes := 0
		for range n {
			for i := range b {
				b[i] = byte(r.Uint32())
				if i%4 < c.zeros {
					b[i] = 0
				}
			}
			if Recognise(b[:9+r.IntN(55)]) {
				yes++
			}
		}
		if yes > c.most {
			t.Errorf("%d of %d recognised, with %d zeros of 4", yes, n, c.zeros)
		}
	}
}

// FuzzRecognise holds that what Recognise accepts a Conn can resume at, and that Sender does not panic.
func FuzzRecognise(f *testing.F) {
	f.Add([]byte(headsEnd(5, get)))
	f.Add([]byte(Preface + noSettings))
	f.Add([]byte(frame(headersFrame, 0, 5, get) + frame(continuationFrame, flagEndHeaders, 5, get)))
	f.Add([]byte(ack + frame(pingFrame, 0, 0, "12345678") + rst(5, 8)))
	f.Fuzz(func(t *testing.T, b []byte) {
		Sender(b)
		var c Conn
		r := new(recorder)
		c.Reset(new(Pool), r, Midstream)
		c.Data(http.Client, b, 0)
		if yes := Recognise(b); yes && !(c.InSync(http.Client) || len(r.events) > 0) {
			t.Fatalf("recognised %v, in sync %v, %q", yes, c.InSync(http.Client), r.events)
		}
	})
}
