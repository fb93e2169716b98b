package dns

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// A seen is what a test compares of a Message.
type seen struct {
	OK, Response, Truncated bool
	ID, Type                uint16
	RCode                   uint8
	TTL                     uint32
	Name                    string
	Addrs                   []string
}

func see(b []byte) seen {
	var m Message
	if !Parse(b, &m) {
		return seen{}
	}
	m.ReadAnswers()
	s := seen{true, m.Response, m.Truncated, m.ID, m.Type, m.RCode, m.TTL, string(m.Name), nil}
	for _, a := range m.Addrs {
		s.Addrs = append(s.Addrs, netip.AddrFrom16(a).Unmap().String())
	}
	return s
}

// A rr is a record of the answer section: name, TTL, and an address or a name
// for a CNAME.
type rr struct {
	name string
	ttl  uint32
	data string
}

// build makes a message; a query where rcode is negative.
func build(t testing.TB, id uint16, name string, kind dnsmessage.Type, rcode int, rrs ...rr) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true}}
	m.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}
	if rcode >= 0 {
		m.Response, m.RCode = true, dnsmessage.RCode(rcode)
	}
	for _, r := range rrs {
		res := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(r.name), Class: dnsmessage.ClassINET, TTL: r.ttl}}
		switch a, err := netip.ParseAddr(r.data); {
		case err != nil:
			res.Body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(r.data)}
		case a.Is4():
			res.Body = &dnsmessage.AResource{A: a.As4()}
		default:
			res.Body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		}
		m.Answers = append(m.Answers, res)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	typeA    = dnsmessage.TypeA
	typeAAAA = dnsmessage.TypeAAAA
)

func TestParse(t *testing.T) {
	var many, chain, longChain []rr
	var some []string
	for i := range 70 {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String()
		many = append(many, rr{"a.example.", 60, a})
		if i < maxAddrs {
			some = append(some, a)
		}
	}
	link := func(i int) string { return strings.Repeat("x", i) + "a.example." }
	for i := range maxChain + 1 {
		r := rr{link(i), 60, link(i + 1)}
		if longChain = append(longChain, r); i < maxChain {
			chain = append(chain, r)
		}
	}
	chain = append(chain, rr{link(maxChain), 60, "192.0.2.1"})
	longChain = append(longChain, rr{link(maxChain + 1), 60, "192.0.2.1"})

	answer := func(kind uint16, ttl uint32, addrs ...string) seen {
		return seen{OK: true, Response: true, ID: 7, Type: kind, TTL: ttl, Name: "a.example", Addrs: addrs}
	}
	tests := []struct {
		name string
		msg  []byte
		want seen
	}{
		{"query", build(t, 7, "A.Example.", typeA, -1), seen{OK: true, ID: 7, Type: TypeA, Name: "a.example"}},
		{"root", build(t, 7, ".", typeA, -1), seen{OK: true, ID: 7, Type: TypeA}},
		{"addresses", build(t, 7, "a.example.", typeA, 0, rr{"a.example.", 60, "192.0.2.1"}, rr{"A.example.", 30, "192.0.2.2"}), answer(TypeA, 30, "192.0.2.1", "192.0.2.2")},
		{"ipv6", build(t, 7, "a.example.", typeAAAA, 0, rr{"a.example.", 60, "2001:db8::1"}), answer(TypeAAAA, 60, "2001:db8::1")},
		{"cname", build(t, 7, "a.example.", typeA, 0, rr{"a.example.", 5, "b.example."}, rr{"b.example.", 60, "c.example."}, rr{"c.example.", 60, "192.0.2.1"}), answer(TypeA, 5, "192.0.2.1")},
		{"cname, out of order", build(t, 7, "a.example.", typeA, 0, rr{"c.example.", 60, "192.0.2.1"}, rr{"b.example.", 60, "c.example."}, rr{"a.example.", 60, "b.example."}), answer(TypeA, 60, "192.0.2.1")},
		{"cname to itself", build(t, 7, "a.example.", typeA, 0, rr{"a.example.", 60, "a.example."}), answer(TypeA, 0)},
		{"cname in a circle", build(t, 7, "a.example.", typeA, 0, rr{"a.example.", 60, "b.example."}, rr{"b.example.", 60, "a.example."}), answer(TypeA, 0)},
		{"cnames at the cap", build(t, 7, "a.example.", typeA, 0, chain...), answer(TypeA, 60, "192.0.2.1")},
		{"cnames over the cap", build(t, 7, "a.example.", typeA, 0, longChain...), answer(TypeA, 0)},
		{"address of another name", build(t, 7, "a.example.", typeA, 0, rr{"b.example.", 60, "192.0.2.1"}), answer(TypeA, 0)},
		{"addresses over the cap", build(t, 7, "a.example.", typeA, 0, many...), answer(TypeA, 60, some...)},
		{"no such name", build(t, 7, "a.example.", typeA, 3, rr{"a.example.", 60, "192.0.2.1"}), seen{OK: true, Response: true, ID: 7, Type: TypeA, RCode: NXDomain, Name: "a.example"}},
		{"odd bytes", build(t, 7, "a\n\xff b.example.", typeA, -1), seen{OK: true, ID: 7, Type: TypeA, Name: "a?\xff?b.example"}},
		{"cut in a record", build(t, 7, "a.example.", typeA, 0, rr{"a.example.", 60, "192.0.2.1"}, rr{"a.example.", 60, "192.0.2.2"})[:27+16+8], answer(TypeA, 60, "192.0.2.1")},
		{"cut in the question", build(t, 7, "a.example.", typeA, -1)[:25], seen{}},
		{"cut in the header", make([]byte, 11), seen{}},
		{"no question", make([]byte, 12), seen{}},
		{"two questions", set(build(t, 7, "a.example.", typeA, -1), 5, 2), seen{}},
		{"update", set(build(t, 7, "a.example.", typeA, -1), 2, 5<<3), seen{}},
		{"class CH", set(build(t, 7, "a.example.", typeA, -1), 26, 3), seen{}},
		{"truncated", set(build(t, 7, "a.example.", typeA, 0), 2, 0x82), seen{OK: true, Response: true, Truncated: true, ID: 7, Type: TypeA, Name: "a.example"}},
		{"pointer to itself", set(build(t, 7, "a.example.", typeA, -1), 12, 0xc0, 12), seen{}},
		{"pointer ahead", set(build(t, 7, "a.example.", typeA, -1), 12, 0xc0, 14), seen{}},
		{"cname shorter than its RDATA", set(build(t, 7, "a.example.", typeA, 0, rr{"a.example.", 60, "b.example."}, rr{"b.example.", 60, "192.0.2.1"}), 27+10, 0, 3), answer(TypeA, 0)},
		{"reserved label", set(build(t, 7, "a.example.", typeA, -1), 12, 0x40), seen{}},
		{"longest name", named(maxName), seen{OK: true, Type: TypeA, Name: dotted(maxName)}},
		{"name too long", named(maxName + 1), seen{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, see(tt.msg)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func set(msg []byte, at int, b ...byte) []byte {
	copy(msg[at:], b)
	return msg
}

// dotted is a name of n bytes, with dots.
func dotted(n int) string {
	var labels []string
	for n > 60 {
		labels = append(labels, strings.Repeat("a", 49))
		n -= 50
	}
	return strings.Join(append(labels, strings.Repeat("a", n)), ".")
}

// named is a query for a name of n bytes.
func named(n int) []byte {
	b := []byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for l := range strings.SplitSeq(dotted(n), ".") {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0, 0, TypeA, 0, classIN)
}

// TestPointerCap holds that a name may lead over so many pointers and no more.
func TestPointerCap(t *testing.T) {
	for _, tt := range []struct {
		pointers int
		ok       bool
	}{{maxPointers, true}, {maxPointers + 1, false}} {
		msg := []byte{1, 'a', 0}
		for i := range tt.pointers {
			to := 0
			if i > 0 {
				to = 3 + 2*(i-1)
			}
			msg = binary.BigEndian.AppendUint16(msg, 0xc000|uint16(to))
		}
		var r nameReader
		after := r.read(msg, len(msg)-2)
		if ok := after >= 0; ok != tt.ok || ok && (string(r.text[:r.n]) != "a" || after != len(msg)) {
			t.Errorf("%d pointers: %q, %d", tt.pointers, r.text[:r.n], after)
		}
	}
}

func TestParseAllocs(t *testing.T) {
	msg := build(t, 7, "a.example.", typeA, 0, rr{"a.example.", 5, "b.example."}, rr{"b.example.", 60, "192.0.2.1"})
	var m Message
	if n := testing.AllocsPerRun(100, func() { Parse(msg, &m); m.ReadAnswers() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// reference is what x/net's parser makes of a message; ok is false where it
// refuses it or cannot be compared.
func reference(b []byte) (s seen, ok bool) {
	var m dnsmessage.Message
	if m.Unpack(b) != nil {
		return s, false
	}
	return unpacked(&m)
}

func unpacked(m *dnsmessage.Message) (s seen, ok bool) {
	if len(m.Questions) != 1 || m.OpCode != 0 || len(m.Answers) > maxRecords {
		return s, false
	}
	q := m.Questions[0]
	if q.Class != dnsmessage.ClassINET {
		return s, false
	}
	s = seen{OK: true, Response: m.Response, Truncated: m.Truncated, ID: m.ID, Type: uint16(q.Type), RCode: uint8(m.RCode), Name: fold(q.Name)}
	if !m.Response || m.RCode != 0 {
		return s, true
	}
	target := s.Name
	for range maxRecords {
		i := slices.IndexFunc(m.Answers, func(r dnsmessage.Resource) bool {
			_, is := r.Body.(*dnsmessage.CNAMEResource)
			return is && fold(r.Header.Name) == target && r.Header.Class == dnsmessage.ClassINET
		})
		if i < 0 {
			break
		}
		target = fold(m.Answers[i].Body.(*dnsmessage.CNAMEResource).CNAME)
	}
	for _, r := range m.Answers {
		if fold(r.Header.Name) != target || r.Header.Class != dnsmessage.ClassINET || len(s.Addrs) == maxAddrs {
			continue
		}
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			s.Addrs = append(s.Addrs, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			s.Addrs = append(s.Addrs, netip.AddrFrom16(body.AAAA).Unmap().String())
		}
	}
	return s, true
}

// plain says whether an answer is one that servers give: one CNAME a name, no
// circle, and each before what it leads to. Others may be read in more than one way.
func plain(m *dnsmessage.Message) bool {
	owners := map[string]bool{}
	for _, r := range m.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource, *dnsmessage.AAAAResource:
		case *dnsmessage.CNAMEResource:
			if n := fold(r.Header.Name); owners[n] || owners[fold(body.CNAME)] || n == fold(body.CNAME) {
				return false
			}
			owners[fold(r.Header.Name)] = true
		case *dnsmessage.UnknownResource:
			return false // an address record of another length
		}
	}
	return len(owners) <= maxChain
}

func fold(n dnsmessage.Name) string {
	b := []byte(strings.TrimSuffix(n.String(), "."))
	for i := range b {
		if b[i] != '.' {
			b[i] = hostBytes[b[i]]
		}
	}
	return string(b)
}

// FuzzParse compares Parse with golang.org/x/net/dns/dnsmessage: what any bytes
// say up to the question, and the addresses where that package has written the
// same message again, as it reads over wrong lengths.
func FuzzParse(f *testing.F) {
	f.Add(build(f, 7, "a.example.", typeA, -1))
	f.Add(build(f, 7, "a.example.", typeA, 0, rr{"a.example.", 5, "b.example."}, rr{"b.example.", 60, "192.0.2.1"}, rr{"b.example.", 60, "2001:db8::1"}))
	f.Add(build(f, 7, "a.example.", typeA, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := see(b)
		if len(got.Name) > maxName || len(got.Addrs) > maxAddrs {
			t.Fatalf("over the cap: %+v", got)
		}
		checkSteps(t, b)
		var m dnsmessage.Message
		if m.Unpack(b) != nil {
			return
		}
		want, ok := unpacked(&m)
		if !ok {
			return
		}
		if got.OK { // else a name has pointers ahead
			got.TTL, got.Addrs = 0, nil
			head := want
			head.Addrs = nil
			if !reflect.DeepEqual(head, got) {
				t.Fatalf("(-dnsmessage +Parse):\n%s", cmp.Diff(head, got))
			}
		}
		if !plain(&m) {
			return
		}
		again, err := m.Pack()
		if err != nil {
			return
		}
		if want, ok = reference(again); !ok {
			return
		}
		got = see(again)
		got.TTL = 0
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("written again (-dnsmessage +Parse):\n%s", cmp.Diff(want, got))
		}
	})
}
