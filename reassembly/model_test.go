package reassembly

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
)

// content is the byte at a place of the model's stream.
func content(i uint64) byte { return byte(i ^ i>>8 ^ i>>16) }

// A checker compares what it hears with the model's stream.
type checker struct {
	t    *testing.T
	pos  uint64
	lost uint64
	cut  uint64
	fins int
}

func (*checker) Open(*Conn) {}

func (k *checker) Data(c *Conn, dir Dir, p []byte) {
	for i, b := range p {
		if b != content(k.pos+uint64(i)) {
			k.t.Fatalf("byte %d is %#x, want %#x", k.pos+uint64(i), b, content(k.pos+uint64(i)))
		}
	}
	k.pos += uint64(len(p))
}

func (k *checker) Gap(_ *Conn, _ Dir, n int64, kind GapKind) {
	if n <= 0 {
		k.t.Fatalf("gap of %d bytes", n)
	}
	k.pos += uint64(n)
	if kind == Cut {
		k.cut += uint64(n)
	} else {
		k.lost += uint64(n)
	}
}

func (k *checker) End(_ *Conn, _ Dir, e End) {
	if e == EndFIN {
		k.fins++
	}
}

// A model is a stream on its way past the capture point.
type model struct {
	rng      *rand.Rand
	base     uint32
	length   uint64
	drop     float64
	acks     bool
	captured []bool
}

// segments cuts the stream, duplicates, drops and shuffles within windows, and
// lets the peer acknowledge all of a window once it has passed.
func (m *model) segments() []sniffer.Segment {
	m.captured = make([]bool, m.length)
	out := []sniffer.Segment{c(m.base-1, syn), s(1999, syn, acks(m.base)), c(m.base, acks(2000))}
	for pos := uint64(0); pos < m.length; {
		var window []sniffer.Segment
		for range 1 + m.rng.IntN(12) {
			n := min(1+m.rng.Uint64N(3000), m.length-pos)
			if n == 0 {
				break
			}
			window = append(window, m.send(pos, n)...)
			pos += n
		}
		m.rng.Shuffle(len(window), func(i, j int) { window[i], window[j] = window[j], window[i] })
		out = append(out, window...)
		if m.acks {
			out = append(out, s(2000, acks(m.base+uint32(pos))))
		}
	}
	return append(out, c(m.base+uint32(m.length), fin))
}

// send captures [pos, pos+n) never, once or more, also in overlapping pieces.
func (m *model) send(pos, n uint64) []sniffer.Segment {
	var out []sniffer.Segment
	for range 1 + m.rng.IntN(3)/2 {
		from := pos - min(pos, m.rng.Uint64N(2)*m.rng.Uint64N(700))
		if m.rng.Float64() < m.drop {
			continue
		}
		p := make([]byte, pos+n-from)
		for i := range p {
			p[i] = content(from + uint64(i))
			m.captured[from+uint64(i)] = true
		}
		out = append(out, c(m.base+uint32(from), string(p)))
	}
	return out
}

// TestModel sends a known stream, cut, duplicated, overlapping, shuffled and
// with losses, past an Assembler: what comes out must be the stream, with gaps
// only where bytes were not captured, at every place of the sequence wrap.
func TestModel(t *testing.T) {
	wraps := []uint32{0, 1, 1 << 31, 1<<31 - 5000, 0xffffffff, 0xffffffff - 1, 0xffffffff - 1459, 0xffffffff - 20000, 0x80000001}
	for seed := range uint64(200) {
		for _, cfg := range []Config{{}, {MaxBufferedPerDirection: 4 * pageSize}, {MaxBuffered: 2 * pageSize}} {
			rng := rand.New(rand.NewPCG(seed, 1))
			m := model{rng: rng, base: wraps[seed%uint64(len(wraps))] - uint32(seed), length: 1 + rng.Uint64N(60000),
				drop: []float64{0, 0.02, 0.3}[seed%3], acks: seed%2 == 0}
			k := checker{t: t}
			a := New(cfg, &k)
			segs := m.segments()
			for i := range segs {
				a.Process(&segs[i])
				if b, most := a.Stats().Buffered, a.pool.max*pageSize; b > most {
					t.Fatalf("%d bytes buffered, more than %d", b, most)
				}
			}
			a.Flush()
			missing := uint64(0)
			for _, ok := range m.captured {
				if !ok {
					missing++
				}
			}
			if k.pos != m.length || k.fins != 1 {
				t.Fatalf("seed %d: heard %d bytes and %d FINs, want %d and 1", seed, k.pos, k.fins, m.length)
			}
			if cfg == (Config{}) && k.lost != missing || k.lost < missing {
				t.Fatalf("seed %d %+v: %d bytes lost, want %d", seed, cfg, k.lost, missing)
			}
			if st := a.Stats(); st.Buffered != 0 || st.Invalid != 0 || st.Conflicts != 0 || st.MissingBytes != k.lost {
				t.Fatalf("seed %d: %+v", seed, st)
			}
		}
	}
}

// TestLongStream passes 4 GiB of sequence numbers twice over.
func TestLongStream(t *testing.T) {
	var k collector
	a := New(Config{}, &k)
	open := handshake()
	for i := range open {
		a.Process(&open[i])
	}
	seg := c(1000, string(make([]byte, 1<<20)))
	const n = 9 << 10
	for range n {
		a.Process(&seg)
		seg.Seq += 1 << 20
	}
	conn := a.Conn(0)
	if got, want := conn.Bytes[Client], uint64(n)<<20; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if conn.base(Client) != 1000 {
		t.Errorf("stream begins at %d, want 1000", conn.base(Client))
	}
}

// chaos makes random segments of a few connections, near enough to each other
// to matter, with time going mostly forward.
func chaos(rng *rand.Rand, n int) []sniffer.Segment {
	var out []sniffer.Segment
	next := map[sniffer.Endpoint]*[2]uint32{}
	now := int64(time.Hour)
	for range n {
		now += rng.Int64N(50 * ms)
		switch rng.IntN(60) {
		case 0:
			now += rng.Int64N(int64(30 * time.Second))
		case 1:
			now += rng.Int64N(int64(15 * time.Minute))
		}
		e := client
		e.Port += uint16(rng.IntN(6))
		seqs := next[e]
		if seqs == nil {
			seqs = &[2]uint32{rng.Uint32(), rng.Uint32()}
			next[e] = seqs
		}
		d := rng.IntN(2)
		seg := sniffer.Segment{Time: now - rng.Int64N(int64(time.Second)), Src: e, Dst: server, Seq: seqs[d], Ack: seqs[1-d], Flags: ack, Window: 64240}
		if d == 1 {
			seg.Src, seg.Dst = seg.Dst, seg.Src
		}
		seg.Length = uint32(rng.IntN(4) * rng.IntN(1500))
		seg.Payload = make([]byte, seg.Length)
		switch rng.IntN(24) {
		case 0:
			seg.Flags = syn
			seqs[d] = rng.Uint32()
			seg.Seq = seqs[d] - 1
		case 1:
			seg.Flags |= syn
		case 2, 3:
			seg.Flags |= fin
			seqs[d]++
		case 4:
			seg.Flags |= rst
		case 5, 6:
			seg.Seq += uint32(rng.IntN(3000))
		case 7, 8:
			seg.Seq -= uint32(rng.IntN(3000))
		case 9:
			seg.Payload = seg.Payload[:seg.Length/2]
		case 10:
			seg.Seq = rng.Uint32()
		case 11:
			seg.Ack += uint32(rng.IntN(5000))
		case 12:
			seg.Interface = 1
		}
		seqs[d] += seg.Length
		if rng.IntN(8) != 0 {
			out = append(out, seg)
		}
	}
	return out
}

// A diary keeps what each connection heard, apart from the others, with the time.
type diary struct {
	open  map[uint32]*[]string
	lives []*[]string
}

func (y *diary) note(c *Conn, format string, args ...any) {
	l := y.open[c.ID]
	*l = append(*l, fmt.Sprintf(format, args...)+fmt.Sprint(" at ", c.Last))
}

func (y *diary) Open(c *Conn) {
	if y.open == nil {
		y.open = map[uint32]*[]string{}
	}
	l := new([]string)
	y.open[c.ID] = l
	y.lives = append(y.lives, l)
	y.note(c, "open %v", c.Endpoint)
}

func (y *diary) Data(c *Conn, d Dir, p []byte)          { y.note(c, "%d data %d", d, len(p)) }
func (y *diary) Gap(c *Conn, d Dir, n int64, k GapKind) { y.note(c, "%d gap %d %d", d, n, k) }
func (y *diary) End(c *Conn, d Dir, e End) {
	y.note(c, "%d end %d packets %v bytes %v state %x closings %v", d, e, c.Packets, c.Bytes, c.state&^slow, [...]Closing{c.Closing(Client), c.Closing(Server)})
	if e >= EndClosed {
		delete(y.open, c.ID)
	}
}

func run(cfg Config, segs []sniffer.Segment, sweep func(a *Assembler, t int64)) ([][]string, Stats) {
	var y diary
	a := New(cfg, &y)
	return pass(a, &y, segs, sweep), a.Stats()
}

// pass returns what an Assembler tells of the segments up to its Flush. It is given
// all of them at once where nothing is to be done in between.
func pass(a *Assembler, y *diary, segs []sniffer.Segment, sweep func(a *Assembler, t int64)) [][]string {
	before := len(y.lives)
	if sweep == nil {
		a.ProcessAll(segs)
		segs = nil
	}
	newest := int64(0)
	for i := range segs {
		a.Process(&segs[i])
		newest = max(newest, segs[i].Time)
		sweep(a, newest)
	}
	a.Flush()
	var lives [][]string
	for _, l := range y.lives[before:] {
		lives = append(lives, *l)
	}
	return lives
}

// TestFlushLeavesNothing gives an Assembler the same segments again.
func TestFlushLeavesNothing(t *testing.T) {
	for seed := range uint64(50) {
		segs := chaos(rand.New(rand.NewPCG(seed, 4)), 600)
		var y diary
		a := New(Config{}, &y)
		sweep := func(a *Assembler, t int64) { a.Sweep(t) }
		want := pass(a, &y, segs, sweep)
		if d := cmp.Diff(want, pass(a, &y, segs, sweep)); d != "" {
			t.Fatalf("seed %d: the first and the second time:\n%s", seed, d)
		}
	}
}

// TestSweepChangesNothing compares what each connection hears without Sweep
// and with Sweep at random times, and with another hash seed.
func TestSweepChangesNothing(t *testing.T) {
	for seed := range uint64(200) {
		segs := chaos(rand.New(rand.NewPCG(seed, 2)), 600)
		want, _ := run(Config{}, segs, nil)
		rng := rand.New(rand.NewPCG(seed, 3))
		got, st := run(Config{Seed: seed + 1}, segs, func(a *Assembler, t int64) {
			if rng.IntN(1+int(seed%5)) == 0 {
				a.Sweep(t)
			}
		})
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("seed %d: without and with Sweep:\n%s", seed, d)
		}
		if st.Open != 0 || st.Buffered != 0 || st.Closed != 0 {
			t.Fatalf("seed %d: after Flush %+v", seed, st)
		}
	}
}

// TestHash holds the hash to what chance would do with the 4-tuples that come in
// rows: of one client or one server, on one host, with one port after the other.
func TestHash(t *testing.T) {
	rows := map[string]func(i int) (client, server string){
		"ports":      func(i int) (string, string) { return fmt.Sprintf("10.0.0.1:%d", 32768+i), "10.0.0.2:80" },
		"even ports": func(i int) (string, string) { return fmt.Sprintf("10.0.0.1:%d", 2*i), "10.0.0.2:8080" },
		"loopback":   func(i int) (string, string) { return fmt.Sprintf("127.0.0.1:%d", 32768+i), "127.0.0.1:80" },
		"clients":    func(i int) (string, string) { return fmt.Sprintf("10.1.%d.%d:40000", i>>8, i&255), "10.0.0.2:80" },
		"both":       func(i int) (string, string) { return fmt.Sprintf("10.1.0.%d:%d", i&255, 40000+i>>8), "10.0.0.2:80" },
		// An address of one's own network and a port that make up for each other.
		"IPv6, port in address": func(i int) (string, string) {
			return fmt.Sprintf("[2001:db8::%x:0:0:1]:%d", i, (i&255)<<8|i>>8), "[2001:db8::2]:443"
		},
		"IPv6, no network": func(i int) (string, string) {
			return fmt.Sprintf("[::%x:0:0:1]:%d", i+1, ((i+1)&255)<<8|(i+1)>>8), "[2001:db8::2]:443"
		},
		"IPv6, port in network": func(i int) (string, string) {
			return fmt.Sprintf("[2001:db8:%x::1]:%d", i, (i&255)<<8|i>>8), "[2001:db8::2]:443"
		},
		"IPv6": func(i int) (string, string) { return fmt.Sprintf("[2001:db8::1]:%d", 32768+i), "[2001:db8::2]:443" },
	}
	const n, slots = 20000, 1 << 16
	for name, row := range rows {
		for seed := range uint64(20) {
			h := newHasher(seed)
			var used [slots]bool
			probes := 0
			for i := range n {
				x, y := row(i)
				client, server := endpoint(x), endpoint(y)
				hash := h.hash(&client, &server)
				if hash != h.hash(&server, &client) {
					t.Fatalf("%s: the other direction has another hash", name)
				}
				for hash %= slots; used[hash] && probes < n; hash = (hash + 1) % slots {
					probes++
				}
				used[hash] = true
			}
			// Knuth, The Art of Computer Programming, vol. 3, §6.4: 0.22 on average.
			if p := float64(probes) / n; p > 0.25 {
				t.Errorf("%s, seed %d: %.2f probes beyond the first", name, seed, p)
			}
		}
	}
}

// TestTable puts the table through random insertions and removals.
func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	tab := newTable()
	want := map[uint32]uint32{} // ref to hash
	var refs []uint32
	for i := range uint32(60000) {
		if grow := i/10000%2 == 0; len(refs) == 0 || rng.IntN(10) < 2+6*b2i(grow) {
			hash := rng.Uint32() & 0xff0000ff // many in one place
			if rng.IntN(2) == 0 {
				hash = rng.Uint32()
			}
			tab.insert(hash, i+1)
			want[i+1] = hash
			refs = append(refs, i+1)
			continue
		}
		j := rng.IntN(len(refs))
		tab.remove(tab.find(want[refs[j]], refs[j]))
		delete(want, refs[j])
		refs = slices.Delete(refs, j, j+1)
	}
	if tab.used != len(want) {
		t.Errorf("%d entries, want %d", tab.used, len(want))
	}
	for ref, hash := range want {
		i := hash & tab.mask
		for tab.slots[i].ref != ref {
			if tab.slots[i].ref == 0 {
				t.Fatalf("entry %d is lost", ref)
			}
			i = (i + 1) & tab.mask
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A digest keeps a number for each connection in place of a diary's lines: two
// runs that differ in one line differ in it.
type digest struct {
	open  map[uint32]int
	lives []uint64
	t     *testing.T
}

func (y *digest) restart(t *testing.T) {
	clear(y.open)
	y.lives, y.t = y.lives[:0], t
}

func (y *digest) note(c *Conn, what ...uint64) {
	h := &y.lives[y.open[c.ID]]
	for _, w := range what {
		*h = (*h ^ w) * 0x9e3779b97f4a7c15
		*h ^= *h >> 29
	}
	*h += uint64(c.Last)
}

func (y *digest) Open(c *Conn) {
	y.open[c.ID] = len(y.lives)
	y.lives = append(y.lives, 0)
	y.note(c, uint64(c.Start), uint64(c.Endpoint[0].Port), uint64(c.Endpoint[1].Port))
}

func (y *digest) Data(c *Conn, d Dir, p []byte) {
	if len(p) == 0 {
		y.t.Fatal("data of no byte")
	}
	y.note(c, 1, uint64(d), uint64(len(p)), uint64(c.Position(d, p)))
}

func (y *digest) Gap(c *Conn, d Dir, n int64, k GapKind) {
	if n <= 0 {
		y.t.Fatalf("gap of %d bytes", n)
	}
	y.note(c, 2, uint64(d), uint64(n), uint64(k))
}

func (y *digest) End(c *Conn, d Dir, e End) {
	y.note(c, 3, uint64(d), uint64(e), uint64(c.Packets[0]), uint64(c.Packets[1]), c.Bytes[0], c.Bytes[1], uint64(c.state&^slow))
	if e >= EndClosed {
		for d := range Dir(2) {
			k := c.Closing(d)
			y.note(c, uint64(k.At), uint64(k.Seq), uint64(k.Ack), uint64(k.With))
		}
		delete(y.open, c.ID)
	}
}

// fuzzSegments makes segments of bytes, eight each.
func fuzzSegments(segs []sniffer.Segment, data []byte) []sniffer.Segment {
	now := int64(0)
	for len(data) >= 8 && len(segs) < 256 {
		b := data[:8]
		data = data[8:]
		e := client
		e.Port += uint16(b[1] & 3)
		seg := sniffer.Segment{Src: e, Dst: server, Flags: sniffer.Flags(b[0]), Interface: uint32(b[1] >> 7), Window: uint16(b[1] >> 3 & 1)}
		if b[1]&4 != 0 {
			seg.Src, seg.Dst = seg.Dst, seg.Src
		}
		seg.Seq = uint32(int32(int8(b[2])) << (b[3] & 31))
		seg.Ack = uint32(int32(int8(b[4])) << (b[3] >> 5 * 4))
		seg.Length = uint32(b[5]) << (b[6] & 7)
		seg.Payload = fuzzPayload[:min(seg.Length, uint32(b[6]>>3)<<7)]
		now += int64(b[7]&0x7f) << (b[7] >> 7 * 32)
		seg.Time = now
		segs = append(segs, seg)
	}
	return segs
}

var fuzzPayload [32 << 7]byte

// FuzzProcess feeds arbitrary segments: no panic, Flush lets go of everything,
// and Sweep changes nothing that is heard.
func FuzzProcess(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x10\x01\x05hello"))
	f.Add([]byte{2, 8, 9, 0, 0, 0, 18, 128, 9, 8, 0, 0, 16, 0, 1, 0, 3, 8, 17, 128, 4, 0, 9, 0, 4, 9, 1, 0, 7, 1, 0, 0})
	f.Add([]byte{
		2, 8, 0, 0, 0, 0, 0, 1, 18, 12, 0, 0, 1, 0, 0, 1, 16, 8, 1, 0, 1, 0, 0, 1, // a handshake
		16, 8, 1, 0, 1, 40, 8, 1, 4, 8, 60, 0, 0, 0, 0, 1, 2, 8, 100, 0, 0, 0, 0, 255, 18, 12, 99, 0, 101, 0, 0, 1, // a RST, a SYN, its answer
	})
	small := Config{MaxConnections: 2, MaxClosed: 1, MaxBuffered: 3 * pageSize, MaxBufferedPerDirection: 2 * pageSize}
	type tester struct {
		*Assembler
		*digest
	}
	newTester := func(cfg Config) tester {
		y := &digest{open: map[uint32]int{}}
		return tester{New(cfg, y), y}
	}
	capped, without, with := newTester(small), newTester(Config{}), newTester(Config{})
	var segs []sniffer.Segment
	f.Fuzz(func(t *testing.T, data []byte) {
		segs = fuzzSegments(segs[:0], data)
		for _, x := range []tester{capped, without, with} {
			x.restart(t)
			for i := range segs {
				x.Process(&segs[i])
				if x != without {
					x.Sweep(segs[i].Time)
				}
			}
			x.Flush()
			if st := x.Stats(); st.Open != 0 || st.Buffered != 0 || st.Closed != 0 {
				t.Fatalf("after Flush: %+v", st)
			}
		}
		if !slices.Equal(without.lives, with.lives) {
			one, _ := run(Config{}, segs, nil)
			two, _ := run(Config{}, segs, (*Assembler).Sweep)
			t.Fatalf("without and with Sweep:\n%s", cmp.Diff(one, two))
		}
	})
}
