package capfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
)

func TestClocks(t *testing.T) {
	const at = uint64(1700000000)
	cases := []struct {
		name       string
		resolution byte
		offset     int64
		ticks      uint64
		want       int64
		tick       time.Duration
	}{
		{"seconds", 0, 0, at, 1700000000 * second, time.Second},
		{"milli", 3, 0, at*1e3 + 5, 1700000000*second + 5e6, time.Millisecond},
		{"micro", 6, 0, at*1e6 + 123456, 1700000000*second + 123456000, time.Microsecond},
		{"nano", 9, 0, at*1e9 + 123456789, 1700000000*second + 123456789, time.Nanosecond},
		{"pico", 12, 0, 3e12 + 1999, 3*second + 1, 0},
		{"10^-19", 19, 0, 1e19, second, 0},
		{"10^-127", 127, 0, 1e19, 0, 0},
		{"2^0", 0x80, 0, at, 1700000000 * second, time.Second},
		{"2^-1", 0x81, 0, at<<1 | 1, 1700000000*second + 5e8, time.Second / 2},
		{"2^-20", 0x80 + 20, 0, at<<20 | 1<<18, 1700000000*second + 25e7, 953},
		{"2^-32", 0x80 + 32, 0, at<<32 | 1<<31, 1700000000*second + 5e8, 0},
		{"2^-63", 0x80 + 63, 0, 3 << 62, second + 5e8, 0},
		{"2^-64", 0x80 + 64, 0, 1 << 63, 5e8, 0},
		{"2^-127", 0xff, 0, math.MaxUint64, 0, 0},
		{"offset", 6, 1600000000, 100000000 * 1e6, 1700000000 * second, time.Microsecond},
		{"offset back", 0x81, -1, 5, 1500000000, time.Second / 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := &ng{order: binary.BigEndian}
			g.section()
			g.iface(1, 0, option{optionName, []byte("eth0")}, option{optionResolution, []byte{c.resolution}},
				option{optionOffset, g.u64(uint64(c.offset))})
			g.enhanced(0, c.ticks, []byte("abc"), 3)
			f := mustOpen(t, g.data)
			wantFrames(t, f, []sniffer.Frame{{Time: c.want, Data: []byte("abc"), Length: 3, Link: 1}})
			if got := f.Interfaces()[0].Resolution; got != c.tick {
				t.Errorf("resolution %v, want %v", got, c.tick)
			}
		})
	}
}

func TestSectionsAndInterfaces(t *testing.T) {
	g := &ng{order: binary.LittleEndian}
	g.section()
	g.iface(1, 100, option{optionName, []byte("eth0\x00")})
	g.iface(113, 0, option{optionName, []byte("any")}, option{optionResolution, []byte{9}})
	g.enhanced(1, 7, []byte("one"), 3)
	g.enhanced(0, 7, []byte("two22"), 9)
	// Obsolete packet block: 16 bits of interface, 16 of drops.
	g.block(blockPacket, g.AppendUint16(g.AppendUint16(nil, 1), 99), g.u32(0, 8, 3, 4), []byte("old"))
	g.block(blockSimple, g.u32(5), []byte("simpl"))
	// Another section, of the other byte order: eth0 is where it was; the
	// second interface is another; a third one is new.
	g.order = binary.BigEndian
	g.section()
	g.iface(1, 3, option{optionName, []byte("eth0")}, option{optionResolution, []byte{3}})
	g.iface(1, 0, option{optionName, []byte("any")})
	g.iface(101, 0)
	g.enhanced(0, 7, []byte("six"), 3)
	g.enhanced(1, 7, []byte("seven"), 5)
	g.enhanced(2, 7, nil, 0)
	g.block(blockSimple, g.u32(1000), []byte("cut")) // by the snaplen
	f := mustOpen(t, g.data)
	wantFrames(t, f, []sniffer.Frame{
		{Time: 7, Data: []byte("one"), Length: 3, Interface: 1, Link: 113},
		{Time: 7000, Data: []byte("two22"), Length: 9, Link: 1},
		{Time: 8, Data: []byte("old"), Length: 4, Interface: 1, Link: 113},
		{Time: 8, Data: []byte("simpl"), Length: 5, Link: 1},
		{Time: 7e6, Data: []byte("six"), Length: 3, Link: 1},
		{Time: 7000, Data: []byte("seven"), Length: 5, Interface: 2, Link: 1},
		{Time: 7000, Interface: 3, Link: 101},
		{Time: 7000, Data: []byte("cut"), Length: 1000, Link: 1},
	})
	want := []Interface{
		{File: "test", Name: "eth0", Link: 1, Snaplen: 100, Resolution: time.Microsecond},
		{File: "test", Name: "any", Link: 113, Resolution: time.Nanosecond},
		{File: "test", Name: "any", Link: 1, Resolution: time.Microsecond},
		{File: "test", Link: 101, Resolution: time.Microsecond},
	}
	if diff := cmp.Diff(want, f.Interfaces()); diff != "" {
		t.Error(diff)
	}
}

func TestStatistics(t *testing.T) {
	g := &ng{order: binary.LittleEndian}
	drops := func(iface uint32, ifdrop, osdrop uint64) {
		g.block(blockStatistics, g.u32(iface, 0, 0), g.options(option{optionIfDrop, g.u64(ifdrop)},
			option{4, g.u64(1000)}, option{optionOSDrop, g.u64(osdrop)}))
	}
	g.section()
	g.iface(1, 0)
	g.iface(1, 0)
	drops(0, 1, 2)
	drops(0, 3, 20)
	drops(1, 0, 7)
	drops(9, 1, 1) // of no interface
	g.section()
	g.iface(1, 0)
	drops(0, 100, 200)
	f := mustOpen(t, g.data)
	wantFrames(t, f, nil)
	list := f.Interfaces()
	if len(list) != 2 || list[0].InterfaceDrops != 103 || list[0].SystemDrops != 220 || list[1].SystemDrops != 7 {
		t.Errorf("interfaces %+v", list)
	}
	if i, s := f.Drops(); i != 103 || s != 227 {
		t.Errorf("Drops() = %d, %d", i, s)
	}
}

func TestSecrets(t *testing.T) {
	line := strings.Repeat("k", 99) + "\n"
	for _, c := range []struct {
		name   string
		blocks []string
		want   string
	}{
		{"two blocks", []string{"CLIENT_RANDOM 1 2\n", "CLIENT_RANDOM 3 4"}, "CLIENT_RANDOM 1 2\nCLIENT_RANDOM 3 4\n"},
		{"longer than the buffer", []string{strings.Repeat(line, 9000)}, strings.Repeat(line, 9000)},
		{"several long ones", []string{strings.Repeat(line, 20000), line}, strings.Repeat(line, 20001)},
		{"none", []string{""}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &ng{order: binary.BigEndian}
			g.section()
			g.iface(1, 0)
			g.enhanced(0, 1, []byte("x"), 1)
			for _, text := range c.blocks {
				g.block(blockSecrets, g.u32(secretsTLS, uint32(len(text))), []byte(text))
			}
			g.block(blockSecrets, g.u32(0x57474b4c, 4), []byte("wire"))
			var got strings.Builder
			path := filepath.Join(t.TempDir(), "x.pcapng")
			if err := os.WriteFile(path, g.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := ReadKeyLog(path, &got); err != nil || got.String() != c.want {
				t.Errorf("beforehand: %d bytes of secrets, want %d: %v", got.Len(), len(c.want), err)
			}
			got.Reset()
			f := mustOpen(t, g.data)
			f.KeyLog(&got)
			wantFrames(t, f, []sniffer.Frame{{Time: 1000, Data: []byte("x"), Length: 1, Link: 1}})
			if got.String() != c.want {
				t.Errorf("%d bytes of secrets, want %d", got.Len(), len(c.want))
			}
			if f.Warning() != nil || f.Truncated() {
				t.Errorf("Warning() = %v", f.Warning())
			}
		})
	}
}

// Blocks that exceed the buffer are passed over, or delivered without what
// follows the frame.
func TestLongBlocks(t *testing.T) {
	g := &ng{order: binary.LittleEndian}
	g.section()
	g.iface(1, 0, option{0x8001, make([]byte, 60000)})
	g.block(0xbad, make([]byte, maxBlock-12))
	g.block(blockEnhanced, g.u32(0, 0, 1, 3, 3), []byte("abc\x00"), make([]byte, 3*maxHeld))
	g.enhanced(0, 2, []byte("d"), 1)
	f := mustOpen(t, g.data)
	wantFrames(t, f, []sniffer.Frame{
		{Time: 1000, Data: []byte("abc"), Length: 3, Link: 1},
		{Time: 2000, Data: []byte("d"), Length: 1, Link: 1},
	})
	if cap(f.carry) > 300<<10 {
		t.Errorf("kept piece of %d bytes", cap(f.carry))
	}
}

func TestMalformedBlocks(t *testing.T) {
	raw := func(g *ng, values ...uint32) { g.data = append(g.data, g.u32(values...)...) }
	cases := []struct {
		name  string
		build func(*ng)
		says  string
	}{
		{"block too short", func(g *ng) { raw(g, blockEnhanced, 8, 8) }, "block of 8 bytes"},
		{"block of no bytes", func(g *ng) { raw(g, 0xbad, 0, 0) }, "block of 0 bytes"},
		{"block not padded", func(g *ng) { raw(g, 0xbad, 14, 0, 14) }, "block of 14 bytes"},
		{"block over the cap", func(g *ng) { raw(g, 0xbad, maxBlock+4, 0) }, "block of 16777220 bytes"},
		{"trailer", func(g *ng) { raw(g, 0xbad, 16, 0, 20) }, "ends with a length of 20"},
		{"trailer of a block passed over", func(g *ng) {
			g.block(0xbad, make([]byte, 1<<20))
			g.data[len(g.data)-1] = 1
		}, "ends with a length of"},
		{"interface", func(g *ng) { g.enhanced(1, 0, []byte("x"), 1) }, "packet of interface 1 where there are 1"},
		{"interface at most", func(g *ng) { g.enhanced(1<<32-1, 0, nil, 0) }, "packet of interface 4294967295"},
		{"no interface in this section", func(g *ng) { g.section(); g.enhanced(0, 0, nil, 0) }, "where there are 0"},
		{"simple without interface", func(g *ng) { g.section(); g.block(blockSimple, g.u32(0)) }, "where there are none"},
		{"frame over its block", func(g *ng) { g.block(blockEnhanced, g.u32(0, 0, 0, 5, 5), []byte("1234")) }, "room for 4"},
		{"simple over its block", func(g *ng) { g.block(blockSimple, g.u32(5), []byte("1234")) }, "room for 4"},
		{"frame over the cap", func(g *ng) { g.block(blockEnhanced, g.u32(0, 0, 0, maxFrame+1, 5), make([]byte, maxFrame+4)) }, "room for 262144"},
		{"enhanced too short", func(g *ng) { g.block(blockEnhanced, g.u32(0, 0)) }, "packet block of 20 bytes"},
		{"simple too short", func(g *ng) { g.block(blockSimple) }, "packet block of 12 bytes"},
		{"interface too short", func(g *ng) { g.block(blockInterface, g.u32(1)) }, "interface description of 16 bytes"},
		{"section too short", func(g *ng) { g.block(blockSection, g.u32(byteOrderMagic)) }, "section header of 16 bytes"},
		{"section version", func(g *ng) { g.block(blockSection, g.u32(byteOrderMagic, 9, 0, 0)) }, "version 9.0"},
		{"section order", func(g *ng) { g.block(blockSection, g.u32(1, 1, 0, 0)) }, "unknown byte order"},
		{"interfaces in one section", func(g *ng) {
			for range maxInterfaces {
				g.iface(1, 0)
			}
		}, "more than 65536 interfaces"},
		{"interfaces in many sections", func(g *ng) {
			for i := range maxInterfaces {
				g.section()
				g.iface(1, 0, option{optionName, fmt.Append(nil, "eth", i)})
			}
		}, "more than 65536 interfaces"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := &ng{order: binary.LittleEndian}
			g.section()
			g.iface(1, 0)
			g.enhanced(0, 1, []byte("first"), 5)
			c.build(g)
			g.enhanced(0, 2, []byte("never"), 5)
			got, err := all(mustOpen(t, g.data))
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want the words %q", err, c.says)
			}
			if len(got) != 1 || string(got[0].Data) != "first" {
				t.Errorf("%d frames before the error, want 1", len(got))
			}
		})
	}
}

func TestLyingOptionsAreLeftOut(t *testing.T) {
	g := &ng{order: binary.LittleEndian}
	g.section()
	long := option{optionName, bytes.Repeat([]byte("n"), 1000)}
	g.iface(1, 0, long, option{optionResolution, nil}, option{optionOffset, []byte{1}})
	g.block(blockInterface, g.u32(1, 0), g.u32(optionName|0xffff<<16), []byte("ab"))
	g.block(blockStatistics, g.u32(0))
	g.enhanced(1, 2, []byte("d"), 1)
	f := mustOpen(t, g.data)
	got, err := all(f)
	if !errors.Is(err, io.EOF) || len(got) != 1 || got[0].Time != 2000 {
		t.Errorf("%v, %v", got, err)
	}
	if list := f.Interfaces(); len(list[0].Name) != maxName || list[1].Name != "" {
		t.Errorf("interfaces %+v", list)
	}
}

// TestNamesArePrintable holds that no name, of a file or an interface, comes
// with what a terminal obeys.
func TestNamesArePrintable(t *testing.T) {
	g := &ng{order: binary.LittleEndian}
	g.section()
	g.iface(1, 0, option{optionName, []byte("eth\x1b[31m0\n\xff\u202e\x00\x00")})
	g.enhanced(0, 1, []byte("x"), 1)
	damaged := append(bytes.Clone(g.data), make([]byte, 12)...)
	f, err := NewReader(bytes.NewReader(damaged), "y\x1b[31mred.pcap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = all(f)
	if want := `y\x1b[31mred.pcap: `; !errors.Is(err, ErrMalformed) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Read: %q, want %q first", err, want)
	}
	want := []Interface{{File: `y\x1b[31mred.pcap`, Name: `eth\x1b[31m0\n\xff\u202e`, Link: 1, Resolution: time.Microsecond}}
	if diff := cmp.Diff(want, f.Interfaces()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = Open("/no/such\x1b[2J\nfile")
	if want := `open /no/such\x1b[2J\nfile: `; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Open: %q, want %q first", err, want)
	}
}
