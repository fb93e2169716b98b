package http2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"

	"github.com/keepscope/keepscope/analyzer/http"
)

// TestHuffman holds the code against x/net's, and against strings that end wrongly.
func TestHuffman(t *testing.T) {
	var every []byte
	for c := range 256 {
		every = append(every, byte(c))
	}
	for _, s := range []string{"", "a", "www.example.com", "0123456789", "nginx/1.22.1", string(every), strings.Repeat("\xff", 9), strings.Repeat("\x01", 33)} {
		src := hpack.AppendHuffmanString(nil, s)
		dst := make([]byte, len(s)+3)
		n, ok := huffman.decode(dst, src)
		if !ok || string(dst[:n]) != s {
			t.Errorf("%q: %q %v", s, dst[:n], ok)
		}
		if n, ok = huffman.decode(nil, src); !ok || n != len(s) {
			t.Errorf("%q: length %d %v", s, n, ok)
		}
	}
	for _, c := range every {
		var dst [1]byte
		src := hpack.AppendHuffmanString(nil, string(c))
		if n, ok := huffman.decode(dst[:], src[:len(src):len(src)]); !ok || n < 1 || dst[0] != c && c < 128 {
			t.Errorf("%#x: %#x %v", c, dst[0], ok)
		}
	}
	for _, bad := range []string{"\x00", "\xff", "\xff\xff\xff\xff", "\xff\xff\xff\xfc", "a\xff", "\x1f\xff\xff\xff\xff", "\x1c\x3f\xff"} {
		dst := make([]byte, 64)
		_, ok := huffman.decode(dst, []byte(bad))
		_, err := hpack.HuffmanDecodeToString([]byte(bad))
		if ok != (err == nil) {
			t.Errorf("%q: %v, x/net says %v", bad, ok, err)
		}
	}
}

func FuzzHuffman(f *testing.F) {
	f.Add([]byte("\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"))
	f.Add([]byte("\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, src []byte) {
		want, err := hpack.HuffmanDecodeToString(src)
		dst := make([]byte, 2*len(src))
		n, ok := huffman.decode(dst, src)
		if ok != (err == nil) || ok && string(dst[:n]) != want {
			t.Fatalf("%q %v, x/net says %q %v", dst[:min(n, len(dst))], ok, want, err)
		}
	})
}

// TestStaticTable compares the table with x/net's: each entry is read as x/net reads it.
func TestStaticTable(t *testing.T) {
	for i := 1; i <= numStatic; i++ {
		var want hpack.HeaderField
		d := hpack.NewDecoder(defaultTable, func(f hpack.HeaderField) { want = f })
		if _, err := d.Write([]byte{0x80 | byte(i)}); err != nil {
			t.Fatal(err)
		}
		n := nameOf([]byte(want.Name))
		if d := cmp.Diff(static{n, uint8(len(want.Name)), n.number([]byte(want.Value))}, staticTable[i], cmp.AllowUnexported(static{})); d != "" {
			t.Errorf("%d, %v (-want +got):\n%s", i, want, d)
		}
	}
}

func TestInteger(t *testing.T) {
	for _, c := range []struct {
		in     string
		prefix uint8
		want   uint64
		n      int
	}{
		{"\x0a", 5, 10, 1},
		{"\x1f\x9a\x0a", 5, 1337, 3}, // RFC 7541 C.1.2
		{"\x2a", 8, 42, 1},
		{"\xff\x00", 7, 127, 2},
		{"\xff\x80\x80\x80\x00", 7, 127, 5},
		{"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x7f", 7, 127<<56 + 127, 10},
		{"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 7, 0, 0},
		{"\xff", 7, 0, 0},
		{"\xff\x80", 7, 0, 0},
		{"", 7, 0, 0},
	} {
		if v, n := integer([]byte(c.in), c.prefix); v != c.want || n != c.n {
			t.Errorf("%q: %d, %d bytes; want %d, %d", c.in, v, n, c.want, c.n)
		}
	}
}

// TestBlocks reads header blocks one after another, of one direction.
func TestBlocks(t *testing.T) {
	big := strings.Repeat("b", 600)
	for _, c := range []struct {
		name   string
		from   http.Side
		blocks []string // what follows → is what is read of it; ! stands for a malformed one
	}{
		{"RFC 7541 C.3", http.Client, []string{
			"\x82\x86\x84\x41\x0fwww.example.com→GET host=www.example.com",
			"\x82\x86\x84\xbe\x58\x08no-cache→GET host=www.example.com",
			"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value→GET host=www.example.com",
		}},
		{"RFC 7541 C.4", http.Client, []string{
			"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff→GET host=www.example.com",
			"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf→GET host=www.example.com",
			"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf→GET host=www.example.com",
		}},
		{"statuses from the table", http.Server, []string{
			"\x48\x03103→103", "\xbe→103", "\x48\x03302→302", "\xbe→302", "\xbf→103", "\x08\x03404→404", "\x18\x03500→500",
		}},
		{"names from the table", http.Client, []string{
			"\x40\x0auser-agent\x01a→OTHER agent=a partial", "\x7e\x01b→OTHER agent=b partial", "\xbf→OTHER agent=a partial", "\x0f\x30\x01c→OTHER agent=c partial",
		}},
		{"values in Huffman's code", http.Client, []string{
			get + "\x00" + coded("user-agent") + coded("curl/8.5.0") + "\x00" + coded("content-type") + coded("application/grpc") + "→GET agent=curl/8.5.0 grpc",
			"\x00" + coded(":method") + coded("DELETE") + "\x40" + coded("content-disposition") + coded("x") + "→DELETE",
			"\xbe" + get + "→GET",
		}},
		{"the first of two", http.Client, []string{
			get + post + "\x41" + coded("a.example") + "\x01" + coded("b.example") + "→GET host=a.example", get + "\xbe→GET host=a.example",
		}},
		{"index 0", http.Client, []string{get + "\x80→!GET"}},
		{"an index that the table does not have", http.Client, []string{get + hostA + "\xbf→!GET host=a", "\xbe→OTHER partial"}},
		{"a name that the table does not have", http.Client, []string{get + "\x7e\x01a→!GET"}},
		{"a name cut", http.Client, []string{get + "\x40\x05abc→!GET"}},
		{"a value cut", http.Client, []string{get + "\x41\x05abc→!GET"}},
		{"a value missing", http.Client, []string{get + "\x41→!GET"}},
		{"a name's code that is wrong", http.Client, []string{get + "\x40\x81\x00\x01a→!GET"}},
		{"a value's code that is wrong", http.Client, []string{get + "\x41\x81\x00→!GET"}},
		{"a size update that is cut", http.Client, []string{"\x3f→!OTHER partial"}},
		{"a size update after a field", http.Client, []string{get + hostA + "\x20→GET host=a", "\xbe→!OTHER partial"}},
		{"a size update that is too great", http.Client, []string{"\x3f\xff\xff\xff\xff\xff\x01→!OTHER partial"}},
		{"emptied by a size update", http.Client, []string{get + hostA + "→GET host=a", "\x20" + get + "→GET", "\x3f\xe1\x1f" + get + "\xbe→!GET"}},
		{"shrunk by size updates", http.Client, []string{
			"\x41\x01a\x41\x01b\x41\x01c→OTHER host=a partial", "\xc0→OTHER host=a partial", "\x3f\x45" + "\xbf→OTHER host=b partial", "\x3f\x45" + "\xc0→!OTHER partial",
		}},
		{"an entry larger than the table", http.Client, []string{"\x3f\x0a\x41\x01a→OTHER host=a partial", "\xbe→!OTHER partial"}},
		{"an entry larger than the table empties it", http.Client, []string{"\x3f\x30\x41\x01a\x41" + plain(strings.Repeat("x", 60)) + "→OTHER host=a partial", "\xbe→!OTHER partial"}},
		{"a value longer than is kept", http.Client, []string{
			get + "\x41" + plain(big) + "→GET host=" + big[:maxValue], get + "\xbe→GET host=" + big[:maxValue],
			get + "\x41\xff\xd3\x02" + string(hpack.AppendHuffmanString(nil, big))[:0] + "→!GET",
		}},
		{"names that one side does not read", http.Client, []string{"\x76\x01n\x7c\x01v\x48\x03200→OTHER via=v forwarded partial", "\xbe\xc0" + get + "→GET", "\xbf" + get + "→GET via=v forwarded"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := new(Pool)
			d := decoder{max: defaultTable, trusted: true}
			for i, line := range c.blocks {
				block, want, _ := strings.Cut(line, "→")
				if got := q.describe(&d, c.from, block); got != want {
					t.Fatalf("block %d: %q, want %q", i, got, want)
				}
			}
		})
	}
}

// describe reads a block, and writes down what it says.
func (q *Pool) describe(d *decoder, from http.Side, block string) string {
	s := &q.section
	s.reset(from)
	what := ""
	if !q.read(d, []byte(block)) {
		what = "!"
		q.distrust(d)
	}
	s.finish()
	if from == http.Server {
		return what + fmt.Sprint(s.head.Status) + describe(&s.head)
	}
	return what + s.head.Method.String() + describe(&s.head)
}

// A script makes header blocks with x/net's encoder: fields of a small vocabulary, so that
// they repeat, with changes of the table's size among them. It is the same for the same bytes.
type script struct {
	rand *rand.Rand
	buf  bytes.Buffer
	enc  *hpack.Encoder
}

func newScript(seed uint64) *script {
	s := &script{rand: rand.New(rand.NewPCG(seed, 1))}
	s.enc = hpack.NewEncoder(&s.buf)
	s.enc.SetMaxDynamicTableSizeLimit(1 << 20)
	return s
}

func (s *script) pick(of ...string) string { return of[s.rand.IntN(len(of))] }

func (s *script) field() hpack.HeaderField {
	f := hpack.HeaderField{Name: s.pick(":method", ":status", ":authority", ":protocol", ":path", "host", "content-type", "grpc-status",
		"user-agent", "server", "via", "forwarded", "x-forwarded-for", "x-"+fmt.Sprint(s.rand.IntN(50)), "cookie", "content-disposition", "a")}
	switch f.Name {
	case ":method":
		f.Value = s.pick("GET", "POST", "HEAD", "PATCH", "BREW", "")
	case ":status":
		f.Value = s.pick("200", "404", "103", "302", "503", "x")
	case "content-type":
		f.Value = s.pick("application/grpc", "application/grpc+json", "text/html", "")
	case "grpc-status":
		f.Value = s.pick("0", "13", "16", "17", "x")
	default:
		f.Value = strings.Repeat(s.pick("v", "www.example.com", "\xfc\x00", "A9-"), s.rand.IntN(8))
		if s.rand.IntN(40) == 0 {
			f.Value = strings.Repeat(f.Value, 60)
		}
	}
	f.Sensitive = s.rand.IntN(10) == 0
	return f
}

// block returns a header block with 1 to n fields.
func (s *script) block(n int) []byte {
	s.buf.Reset()
	// Only one at a time: x/net's decoder refuses the second of two, of which its
	// encoder writes the smaller first.
	if s.rand.IntN(8) == 0 {
		s.enc.SetMaxDynamicTableSize([]uint32{0, 31, 64, 200, 1000, 4096, 70000}[s.rand.IntN(7)])
	}
	for range 1 + s.rand.IntN(n) {
		if err := s.enc.WriteField(s.field()); err != nil {
			panic(err)
		}
	}
	return s.buf.Bytes()
}

// netDescribe says of a block, as x/net's decoder reads it, what describe says of it.
func netDescribe(d *hpack.Decoder, from http.Side, block []byte) (string, http.GRPCStatus, error) {
	list, err := d.DecodeFull(block)
	if err != nil {
		return "", 0, err
	}
	said, status := netSaid(list, from)
	return said, status, nil
}

func netSaid(list []hpack.HeaderField, from http.Side) (string, http.GRPCStatus) {
	first := map[string]string{}
	for _, f := range list {
		if _, twice := first[f.Name]; !twice || f.Name == "via" {
			first[f.Name] = f.Value
		}
	}
	named := func(name string) []byte {
		v := first[name]
		return []byte(v[:min(len(v), http.MaxName)])
	}
	text := func(name string) []byte {
		v := first[name]
		return []byte(v[:min(len(v), maxValue)])
	}
	h := http.Head{Version: http.HTTP2}
	if via := first["via"]; len(via) < maxValue {
		h.Via = []byte(via[max(0, len(via)-http.MaxName):])
	}
	if from == http.Server {
		h.Server = named("server")
		if v := first[":status"]; len(v) == 3 {
			code, _ := strconv.ParseUint(v, 10, 16)
			h.Status = uint16(code)
		}
		h.Partial = h.Status == 0
		status := http.GRPCStatus(0)
		if v, ok := first["grpc-status"]; ok {
			status = http.GRPCUnknown
			for i := range http.NumGRPCStatuses {
				if fmt.Sprint(i) == v {
					status = http.GRPCStatus(i)
				}
			}
		}
		return fmt.Sprint(h.Status) + describe(&h), status
	}
	method, has := first[":method"]
	h.Partial = !has
	h.Host, h.Agent = text("host"), named("user-agent")
	for _, name := range []string{"via", "forwarded", "x-forwarded-for"} {
		if _, has := first[name]; has {
			h.Forwarded = true
		}
	}
	if _, has := first[":authority"]; has {
		h.Host = text(":authority")
	}
	h.GRPC = strings.HasPrefix(first["content-type"], "application/grpc")
	_, protocol := first[":protocol"]
	h.Extended = protocol && method == "CONNECT"
	known := http.Other.String()
	for m := range http.NumMethods {
		if m != http.Other && m.String() == method {
			known = method
		}
	}
	return known + describe(&h), 0
}

func checkBlocks(t *testing.T, seed uint64, from http.Side, blocks int) {
	t.Helper()
	s := newScript(seed)
	oracle := hpack.NewDecoder(defaultTable, nil)
	oracle.SetAllowedMaxDynamicTableSize(1 << 20)
	q := new(Pool)
	d := decoder{max: defaultTable, trusted: true}
	for i := range blocks {
		block := s.block(12)
		want, status, err := netDescribe(oracle, from, block)
		if err != nil {
			t.Fatalf("seed %d, block %d: x/net cannot read what x/net wrote: %v", seed, i, err)
		}
		if got := q.describe(&d, from, string(block)); got != want {
			t.Fatalf("seed %d, block %d %q:\n got %q\nwant %q", seed, i, block, got, want)
		}
		if from == http.Server && q.section.grpc != status {
			t.Fatalf("seed %d, block %d %q: %v, want %v", seed, i, block, q.section.grpc, status)
		}
	}
	q.distrust(&d)
	checkReleased(t, q)
}

// TestBlocksDifferential compares with x/net's decoder on what x/net's encoder writes.
func TestBlocksDifferential(t *testing.T) {
	for seed := range uint64(200) {
		checkBlocks(t, seed, http.Side(seed%2), 100)
	}
}

// FuzzBlocks compares with x/net's decoder on any bytes, up to the first block that it refuses, which
// this package refuses too unless what is wrong lies in a string that it does not read.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte("\x04\x82\x41\x01a\x02\x82\xbe"), false)
	f.Add([]byte("\x0b\x20\x3f\xe1\x1f\x88\x76\x05nginx\x02\x88\xbe"), true)
	f.Fuzz(func(t *testing.T, in []byte, server bool) {
		from := http.Client
		if server {
			from = http.Server
		}
		oracle := hpack.NewDecoder(defaultTable, nil)
		oracle.SetAllowedMaxDynamicTableSize(1<<32 - 1)
		q := new(Pool)
		d := decoder{max: defaultTable, trusted: true}
		for len(in) > 0 {
			n := min(1+int(in[0]), len(in))
			block := in[1:n]
			in = in[n:]
			want, _, err := netDescribe(oracle, from, block)
			if err != nil {
				return
			}
			if got := q.describe(&d, from, string(block)); got != want {
				t.Fatalf("%q: got %q, want %q", block, got, want)
			}
		}
	})
}
