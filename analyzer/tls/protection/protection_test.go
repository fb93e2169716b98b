package protection

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCCMVectors opens packet vectors of RFC 3610 §8 (nonces of 13 bytes) and NIST SP 800-38C
// example 3 (12 bytes).
func TestCCMVectors(t *testing.T) {
	const rfc = "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
	tests := []struct {
		name, key, nonce, extra, sealed, text string
		tag                                   int
	}{
		{
			"RFC 3610 #1", rfc, "00000003020100a0a1a2a3a4a5", "0001020304050607",
			"588c979a61c663d2f066d0c2c0f989806d5f6b61dac384 17e8d12cfdf926e0",
			"08090a0b0c0d0e0f101112131415161718191a1b1c1d1e", 8,
		},
		{
			"RFC 3610 #2", rfc, "00000004030201a0a1a2a3a4a5", "0001020304050607",
			"72c91a36e135f8cf291ca894085c87e3cc15c439c9e43a3b a091d56e10400916",
			"08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", 8,
		},
		{
			"SP 800-38C #3", "404142434445464748494a4b4c4d4e4f", "101112131415161718191a1b",
			"000102030405060708090a0b0c0d0e0f10111213",
			"e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5 484392fbc1b09951",
			"202122232425262728292a2b2c2d2e2f3031323334353637", 8,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			block, err := aes.NewCipher(unhex(t, tt.key))
			if err != nil {
				t.Fatal(err)
			}
			c := counterMode{block: block, tag: tt.tag}
			sealed := unhex(t, tt.sealed)
			got, ok := c.open(nil, unhex(t, tt.nonce), sealed, unhex(t, tt.extra))
			if !ok || !bytes.Equal(got, unhex(t, tt.text)) {
				t.Errorf("%t %x", ok, got)
			}
			for i := range sealed {
				bad := bytes.Clone(sealed)
				bad[i] ^= 1
				if _, ok := c.open(nil, unhex(t, tt.nonce), bad, unhex(t, tt.extra)); ok {
					t.Errorf("byte %d may change", i)
				}
			}
			if _, ok := c.open(nil, unhex(t, tt.nonce), sealed, nil); ok {
				t.Error("the additional data may be left out")
			}
		})
	}
}

// TestExpandLabel compares the key schedule with crypto/hkdf.
func TestExpandLabel(t *testing.T) {
	for _, h := range []struct {
		h Hash
		n func() hash.Hash
	}{{SHA256, sha256.New}, {SHA384, sha512.New384}} {
		var s Schedule
		for i := range 20 {
			secret := bytes.Repeat([]byte{byte(i)}, h.h.Size())
			var key, iv = make([]byte, 32), make([]byte, 12)
			s.traffic(h.h, secret, key, iv)
			var k Keys
			k.Traffic(Suite{mode: gcm, Hash: h.h, key: 32, tag: 16}, secret)
			k.Update(&s)
			for _, want := range []struct {
				label string
				got   []byte
			}{{"key", key}, {"iv", iv}, {"traffic upd", k.material[:h.h.Size()]}} {
				info := binary.BigEndian.AppendUint16(nil, uint16(len(want.got)))
				info = append(info, byte(6+len(want.label)))
				info = append(append(info, "tls13 "+want.label...), 0)
				b, err := hkdf.Expand(h.n, secret, string(info), len(want.got))
				if err != nil || !bytes.Equal(b, want.got) {
					t.Fatalf("%s: %x, want %x (%v)", want.label, want.got, b, err)
				}
			}
			for _, m := range s.hmacs {
				if m != nil && !bytes.Equal(m.sum[:], make([]byte, maxHash)) {
					t.Error("a schedule keeps what it derived")
				}
			}
		}
	}
}

// TestPRF checks vectors of TLS 1.2's PRF that were published on the TLS working group's
// list (P_SHA256), with a label and a seed of their own.
func TestPRF(t *testing.T) {
	var s Schedule
	secret := unhex(t, "9bbe436ba940f017b17652849a71db35")
	seed := unhex(t, "a0ba9f936cda311827a6f796ffd5198c")
	out := make([]byte, 100)
	s.xorHash(s.hmac(SHA256), secret, append([]byte("test label"), seed...), out)
	want := "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af" +
		"0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
	if got := hex.EncodeToString(out); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// seal makes a record of TLS 1.3 with padding zeros.
func seal(t testing.TB, k *Keys, s *Schedule, seq uint64, kind byte, content []byte, padding int) (head, body []byte) {
	t.Helper()
	c := k.Cipher(s)
	inner := append(append(bytes.Clone(content), kind), make([]byte, padding)...)
	n := len(inner) + int(k.Suite.tag)
	head = []byte{23, 3, 3, byte(n >> 8), byte(n)}
	nonce := bytes.Clone(c.iv[:12])
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^seq)
	switch {
	case c.aead != nil:
		body = c.aead.Seal(nil, nonce, inner, head)
	default:
		body = sealCCM(c.block, int(k.Suite.tag), nonce, inner, head)
	}
	return head, body
}

// sealCCM is CCM by crypto/cipher's CTR and CBC, which share nothing with ours.
func sealCCM(block cipher.Block, tag int, nonce, text, extra []byte) []byte {
	mac := make([]byte, 16)
	in := []byte{byte(64 + 8*((tag-2)/2) + 2)}
	in = append(append(in, nonce...), byte(len(text)>>16), byte(len(text)>>8), byte(len(text)))
	a := append(binary.BigEndian.AppendUint16(nil, uint16(len(extra))), extra...)
	pad := func(b []byte) []byte { return append(b, make([]byte, (16-len(b)%16)%16)...) }
	in = append(append(in, pad(a)...), pad(bytes.Clone(text))...)
	out := make([]byte, len(in))
	cipher.NewCBCEncrypter(block, mac).CryptBlocks(out, in)
	copy(mac, out[len(out)-16:])
	iv := append(append([]byte{2}, nonce...), 0, 0, 0)
	both := append(bytes.Clone(mac), text...)
	cipher.NewCTR(block, iv).XORKeyStream(both, both)
	return append(both[16:], both[:tag]...)
}

var suites13 = []struct {
	name string
	id   uint16
}{{"aes-128-gcm", 0x1301}, {"aes-256-gcm", 0x1302}, {"chacha20", 0x1303}, {"ccm", 0x1304}, {"ccm-8", 0x1305}}

// TestContent compares what Content says of a record's end with what is in it, for
// every suite, length and padding, from the whole record and from its tail.
func TestContent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, suite := range suites13 {
		t.Run(suite.name, func(t *testing.T) {
			var s Schedule
			var k Keys
			k.Traffic(SuiteOf(suite.id, version13), bytes.Repeat([]byte{5}, k.Suite.Hash.Size()))
			c := k.Cipher(&s)
			for range 3000 {
				content := make([]byte, r.IntN(300))
				seq, kind := r.Uint64N(1<<40), byte(20+r.IntN(4))
				padding := max(0, r.IntN(200)-100)
				head, body := seal(t, &k, &s, seq, kind, content, padding)
				got, gotKind, ok := c.Open(&s, nil, seq, head, body)
				if !ok || gotKind != kind || !bytes.Equal(got, content) {
					t.Fatalf("%d bytes, %d of padding: %t %d %x", len(content), padding, ok, gotKind, got)
				}
				for _, tail := range [][]byte{body, body[max(len(body)-Tail, 0):]} {
					gotKind, n, ok := c.Content(seq, head, len(body), tail)
					if !ok && padding >= 48 && len(tail) < len(body) {
						continue
					}
					if !ok || gotKind != kind || n != len(content) {
						t.Fatalf("%d bytes, %d of padding, by %d of %d: %t %d %d", len(content), padding, len(tail), len(body), ok, gotKind, n)
					}
				}
				body[r.IntN(len(body))] ^= 1
				if _, _, ok := c.Open(&s, nil, seq, head, body); ok {
					t.Fatal("a changed record authenticates")
				}
			}
			head, body := seal(t, &k, &s, 0, 0, nil, 30)
			if _, _, ok := c.Open(&s, nil, 0, head, body); ok {
				t.Error("a record of zeros has content")
			}
			if _, _, ok := c.Content(0, head, len(body), body); ok {
				t.Error("a record of zeros has a type")
			}
		})
	}
}

// TestShort gives records that are too short for their protection.
func TestShort(t *testing.T) {
	var s Schedule
	for _, suite := range []struct{ id, version uint16 }{
		{0x1301, version13}, {0x1303, version13}, {0x1304, version13}, {0x1305, version13}, {0xc02f, version12}, {0xcca8, version12},
		{0xc0ac, version12}, {0xc013, version12}, {0xc013, version10}, {0xc027, version12}, {0xc028, version12},
	} {
		for _, etm := range []bool{false, true} {
			m := Master{Suite: SuiteOf(suite.id, suite.version), Version: suite.version, EncryptThenMAC: etm}
			var k, other Keys
			if suite.version == version13 {
				k.Traffic(m.Suite, make([]byte, 32))
			} else {
				m.Derive(&s, &k, &other)
			}
			c := k.Cipher(&s)
			for n := range 120 {
				body := make([]byte, n)
				head := []byte{23, 3, 3, 0, byte(n)}
				if _, _, ok := c.Open(&s, nil, 0, head, body); ok {
					t.Errorf("%04x: %d zeros authenticate", suite.id, n)
				}
				_, _, _ = c.Content(0, head, n, body)
				k.Follow(body)
			}
		}
	}
}

func TestSuites(t *testing.T) {
	for _, tt := range []struct {
		id, version uint16
		known       bool
	}{
		{0x1301, version13, true}, {0x1305, version13, true}, {0x1306, version13, false}, {0x1301, version12, false},
		{0xc02f, version13, false}, {0xc02f, version12, true}, {0xc02f, version11, false}, {0xc013, version10, true},
		{0x003c, version11, false}, {0xc028, version11, false}, {0xc028, version12, true}, {0x00af, version11, true},
		{0x0005, version12, false}, {0x000a, version12, false}, {0x0000, version12, false},
	} {
		if got := SuiteOf(tt.id, tt.version).Known(); got != tt.known {
			t.Errorf("%04x in %04x: %t", tt.id, tt.version, got)
		}
	}
}

// TestAllocs holds that neither opening a record nor reading its type allocates.
func TestAllocs(t *testing.T) {
	for _, suite := range suites13 {
		var s Schedule
		var k Keys
		k.Traffic(SuiteOf(suite.id, version13), make([]byte, 48))
		head, body := seal(t, &k, &s, 1, 23, make([]byte, 1000), 0)
		c := k.Cipher(&s)
		dst := make([]byte, 0, 2000)
		if n := testing.AllocsPerRun(100, func() {
			if _, _, ok := c.Open(&s, dst, 1, head, body); !ok {
				t.Fatal("not opened")
			}
			if _, _, ok := c.Content(1, head, len(body), body); !ok {
				t.Fatal("not read")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", suite.name, n)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, suite := range suites13 {
		for _, size := range []int{100, 1100, 16384} {
			b.Run(fmt.Sprintf("%s/%d", suite.name, size), func(b *testing.B) {
				var s Schedule
				var k Keys
				k.Traffic(SuiteOf(suite.id, version13), make([]byte, 48))
				head, body := seal(b, &k, &s, 1, 23, make([]byte, size), 0)
				c := k.Cipher(&s)
				dst := make([]byte, 0, 20000)
				b.SetBytes(int64(size))
				for b.Loop() {
					c.Open(&s, dst, 1, head, body)
				}
			})
		}
	}
}

func BenchmarkContent(b *testing.B) {
	for _, suite := range suites13 {
		b.Run(suite.name, func(b *testing.B) {
			var s Schedule
			var k Keys
			k.Traffic(SuiteOf(suite.id, version13), make([]byte, 48))
			head, body := seal(b, &k, &s, 1, 23, make([]byte, 16384), 0)
			c := k.Cipher(&s)
			b.SetBytes(16384)
			for b.Loop() {
				c.Content(1, head, len(body), body)
			}
		})
	}
}

// BenchmarkCipher makes the Cipher of one direction from its traffic secret.
func BenchmarkCipher(b *testing.B) {
	for _, suite := range suites13 {
		b.Run(suite.name, func(b *testing.B) {
			var s Schedule
			var k Keys
			k.Traffic(SuiteOf(suite.id, version13), make([]byte, 48))
			b.ReportAllocs()
			for b.Loop() {
				k.Cipher(&s)
			}
		})
	}
}

func Example() {
	var s Schedule
	var k Keys
	k.Traffic(SuiteOf(0x1303, 0x0304), make([]byte, 32)) // a traffic secret of a key log
	c := k.Cipher(&s)

	// A server would have sealed a record like this.
	aead, _ := chacha20poly1305.New(c.key[:])
	head := []byte{23, 3, 3, 0, 5 + 1 + 16}
	body := aead.Seal(nil, c.iv[:12], []byte("hello\x17"), head)

	content, kind, ok := c.Open(&s, nil, 0, head, body)
	fmt.Printf("%s %d %t\n", content, kind, ok)
	// Output: hello 23 true
}
