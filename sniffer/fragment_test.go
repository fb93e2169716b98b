package sniffer_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
)

// A piece is a fragment of an IP datagram: bytes from–to of its payload.
type piece struct {
	from, to int
	cut      int // bytes that a snaplen took
	last     bool
}

// fragmentOf returns a piece of an IPv4 datagram as a raw frame.
func fragmentOf(whole []byte, p piece, id uint16) sniffer.Frame {
	b := bytes.Clone(whole[:20])
	binary.BigEndian.PutUint16(b[2:], uint16(20+p.to-p.from))
	binary.BigEndian.PutUint16(b[4:], id)
	flags := uint16(p.from / 8)
	if !p.last {
		flags |= 0x2000
	}
	binary.BigEndian.PutUint16(b[6:], flags)
	b = append(b, whole[20+p.from:20+p.to]...)
	return sniffer.Frame{Data: b[:len(b)-p.cut], Length: uint32(len(b)), Link: sniffer.LinkRaw}
}

// fragmentOf6 is fragmentOf for IPv6 without extension headers.
func fragmentOf6(whole []byte, p piece, id uint32) sniffer.Frame {
	b := bytes.Clone(whole[:40])
	binary.BigEndian.PutUint16(b[4:], uint16(8+p.to-p.from))
	offset := uint16(p.from)
	if !p.last {
		offset |= 1
	}
	b = append(b, b[6], 0)
	b[6] = 44
	b = binary.BigEndian.AppendUint16(b, offset)
	b = binary.BigEndian.AppendUint32(b, id)
	b = append(b, whole[40+p.from:40+p.to]...)
	return sniffer.Frame{Data: b[:len(b)-p.cut], Length: uint32(len(b)), Link: sniffer.LinkRaw}
}

const long = `
conn c 10.0.0.1:40000 10.0.0.2:80
@1s c > "0123456789abcdef"*10
`

const long6 = `
conn c [2001:db8::1]:40000 [2001:db8::2]:80
@1s c > "0123456789abcdef"*10
`

// TestFragments sends the 180 bytes of a segment in pieces.
func TestFragments(t *testing.T) {
	const none = -1
	tests := map[string]struct {
		pieces  []piece
		found   int // index of the piece that completes it
		payload int // bytes
		bad     uint64
	}{
		"in order":         {[]piece{{0, 8, 0, false}, {8, 16, 0, false}, {16, 180, 0, true}}, 2, 160, 0},
		"last first":       {[]piece{{96, 180, 0, true}, {48, 96, 0, false}, {0, 48, 0, false}}, 2, 160, 0},
		"copy":             {[]piece{{0, 48, 0, false}, {0, 48, 0, false}, {48, 180, 0, true}}, 2, 160, 0},
		"copy of the last": {[]piece{{48, 180, 0, true}, {48, 180, 0, true}, {0, 48, 0, false}}, 2, 160, 0},
		"missing":          {[]piece{{0, 48, 0, false}, {96, 180, 0, true}}, none, 0, 0},
		"no last":          {[]piece{{0, 48, 0, false}, {48, 96, 0, false}}, none, 0, 0},
		"cut":              {[]piece{{0, 96, 20, false}, {96, 180, 0, true}}, 1, 56, 0},
		"last cut":         {[]piece{{96, 180, 80, true}, {0, 96, 0, false}}, 1, 80, 0},
		"overlap behind":   {[]piece{{0, 48, 0, false}, {40, 96, 0, false}, {96, 180, 0, true}}, none, 0, 1},
		"overlap before":   {[]piece{{40, 96, 0, false}, {0, 48, 0, false}, {48, 180, 0, true}}, none, 0, 1},
		"longer copy":      {[]piece{{0, 48, 0, false}, {0, 56, 0, false}, {48, 180, 0, true}}, none, 0, 1},
		"given up":         {[]piece{{0, 48, 0, false}, {0, 56, 0, false}, {0, 48, 0, false}, {48, 180, 0, true}}, none, 0, 1},
		"two ends":         {[]piece{{96, 180, 0, true}, {48, 96, 0, true}, {0, 48, 0, false}}, none, 0, 1},
		"beyond the end":   {[]piece{{48, 96, 0, true}, {96, 176, 0, false}, {0, 48, 0, false}}, none, 0, 1},
		"end within":       {[]piece{{96, 176, 0, false}, {48, 96, 0, true}, {0, 48, 0, false}}, none, 0, 1},
		"copy is the end":  {[]piece{{8, 16, 0, false}, {24, 32, 0, false}, {8, 16, 0, true}, {0, 8, 0, false}}, none, 0, 1},
		"not of eights":    {[]piece{{0, 47, 0, false}, {48, 180, 0, true}}, none, 0, 1},
	}
	for _, version := range []string{"ipv4", "ipv6"} {
		text, of := long, func(b []byte, p piece) sniffer.Frame { return fragmentOf(b, p, 7) }
		if version == "ipv6" {
			text, of = long6, func(b []byte, p piece) sniffer.Frame { return fragmentOf6(b, p, 7) }
		}
		want, whole := one(t, text)
		for name, tt := range tests {
			t.Run(version+" "+name, func(t *testing.T) {
				var d sniffer.Decoder
				found := none
				for i, p := range tt.pieces {
					f := of(whole, p)
					f.Time = want.Time
					var got sniffer.Segment
					if !d.Decode(&f, &got) {
						continue
					}
					found = i
					clear(f.Data) // the payload must not view it
					want := want
					want.Payload = want.Payload[:tt.payload]
					if diff := cmp.Diff(want, got); diff != "" {
						t.Error(diff)
					}
				}
				if found != tt.found || d.Stats().Errors[sniffer.BadFragment] != tt.bad {
					t.Errorf("complete with piece %d, want %d: %+v", found, tt.found, d.Stats())
				}
				checkStats(t, d.Stats(), len(tt.pieces))
			})
		}
	}
}

func TestFragmentsWithinTunnel(t *testing.T) {
	want, v4 := one(t, long)
	outer := ip4(17, udp(50000, 4789, "0800000000000700", eth("0800", v4)))
	cut := []piece{{0, 104, 0, false}, {104, len(outer) - 20, 0, true}}
	var d sniffer.Decoder
	var got sniffer.Segment
	for i, p := range cut {
		f := fragmentOf(outer, p, 9)
		f.Time = want.Time
		if ok := d.Decode(&f, &got); ok != (i == 1) {
			t.Fatalf("piece %d: %t", i, ok)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFragmentsKeptApart(t *testing.T) {
	_, v4 := one(t, long)
	first, second := piece{0, 96, 0, false}, piece{96, 180, 0, true}
	for name, change := range map[string]func(*sniffer.Frame){
		"id":        func(f *sniffer.Frame) { f.Data[5]++ },
		"source":    func(f *sniffer.Frame) { f.Data[15]++ },
		"interface": func(f *sniffer.Frame) { f.Interface++ },
		"protocol":  func(f *sniffer.Frame) { f.Data[9] = 47 },
	} {
		a, b := fragmentOf(v4, first, 7), fragmentOf(v4, second, 7)
		change(&b)
		var d sniffer.Decoder
		var s sniffer.Segment
		if d.Decode(&a, &s) || d.Decode(&b, &s) {
			t.Errorf("%s: put together", name)
		}
	}
}

// TestFragmentsNotWanted: what cannot hold a segment takes no room.
func TestFragmentsNotWanted(t *testing.T) {
	for name, whole := range map[string][]byte{
		"icmp": ip4(1, make([]byte, 160)),
		"udp":  ip4(17, udp(2049, 800, make([]byte, 160))),
	} {
		d := sniffer.NewDecoder(sniffer.DecoderConfig{MaxFragmentBytes: 100})
		for _, p := range []piece{{0, 96, 0, false}, {96, len(whole) - 20, 0, true}} {
			f := fragmentOf(whole, p, 1)
			d.Decode(&f, new(sniffer.Segment))
		}
		if s := d.Stats(); s.FragmentsEvicted != 0 || s.Reassembled != 0 || s.Other+s.Fragments != 2 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestFragmentCaps(t *testing.T) {
	_, v4 := one(t, long)
	first, second := piece{0, 96, 0, false}, piece{96, 180, 0, true}
	// decode feeds one piece of datagram id and says whether that completed it.
	decode := func(d *sniffer.Decoder, p piece, id uint16, at time.Duration) bool {
		f := fragmentOf(v4, p, id)
		f.Time = int64(at)
		return d.Decode(&f, new(sniffer.Segment))
	}
	t.Run("datagrams", func(t *testing.T) {
		d := sniffer.NewDecoder(sniffer.DecoderConfig{MaxDatagrams: 4})
		for id := range uint16(5) {
			decode(d, first, id, 0)
		}
		if decode(d, second, 4, 0) != true || decode(d, second, 1, 0) != true || decode(d, second, 0, 0) != false {
			t.Error("not the oldest was given up")
		}
		if s := d.Stats(); s.FragmentsEvicted != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("default datagrams", func(t *testing.T) {
		var d sniffer.Decoder
		for id := range uint16(1000) {
			decode(&d, first, id, 0)
		}
		if s := d.Stats(); s.FragmentsEvicted != 1000-256 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		d := sniffer.NewDecoder(sniffer.DecoderConfig{MaxFragmentBytes: 4 * (96 + 64)})
		for id := range uint16(6) {
			decode(d, first, id, 0)
		}
		if s := d.Stats(); s.FragmentsEvicted != 2 {
			t.Errorf("%+v", s)
		}
		if decode(d, second, 1, 0) || !decode(d, second, 5, 0) {
			t.Error("not the oldest was given up")
		}
	})
	t.Run("bytes below one fragment", func(t *testing.T) {
		d := sniffer.NewDecoder(sniffer.DecoderConfig{MaxFragmentBytes: 1})
		if decode(d, first, 1, 0) || decode(d, second, 1, 0) || d.Stats().FragmentsEvicted != 2 {
			t.Errorf("%+v", d.Stats())
		}
	})
	t.Run("timeout", func(t *testing.T) {
		d := sniffer.NewDecoder(sniffer.DecoderConfig{FragmentTimeout: time.Second})
		decode(d, first, 1, 0)
		decode(d, first, 2, time.Second)
		if !decode(d, second, 1, time.Second) {
			t.Error("given up in time")
		}
		if decode(d, second, 2, 2*time.Second+1) || d.Stats().FragmentsExpired != 1 {
			t.Errorf("not given up late: %+v", d.Stats())
		}
	})
	t.Run("parts", func(t *testing.T) {
		whole := ip4(6, make([]byte, 8*300))
		var d sniffer.Decoder
		for i := range 300 {
			f := fragmentOf(whole, piece{8 * i, 8*i + 8, 0, i == 299}, 1)
			if d.Decode(&f, new(sniffer.Segment)) {
				t.Fatal("segment found")
			}
		}
		if s := d.Stats(); s.Errors[sniffer.BadFragment] != 1 || s.Fragments != 299 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("length", func(t *testing.T) {
		f := fragmentOf(v4, piece{0, 24, 0, true}, 1)
		binary.BigEndian.PutUint16(f.Data[6:], 8190) // 65520 + 24
		var d sniffer.Decoder
		if d.Decode(&f, new(sniffer.Segment)) || d.Stats().Errors[sniffer.BadFragment] != 1 {
			t.Errorf("%+v", d.Stats())
		}
	})
}

// TestFragmentsModel cuts segments at random and sends the pieces in any
// order, some of them twice, those of many datagrams mixed.
func TestFragmentsModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	want, v4 := one(t, long)
	for round := range 200 {
		var frames []sniffer.Frame
		const datagrams = 5
		for id := range uint16(datagrams) {
			for from := 0; from < 180; {
				to := min(180, from+8*(1+random.IntN(10)))
				f := fragmentOf(v4, piece{from, to, 0, to == 180}, id)
				frames = append(frames, f)
				from = to
			}
		}
		random.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
		d, found := sniffer.NewDecoder(sniffer.DecoderConfig{}), 0
		for i := range frames {
			var got sniffer.Segment
			for range 1 + random.IntN(2)*min(1, len(frames)-1-i) {
				if d.Decode(&frames[i], &got) {
					found++
					if !bytes.Equal(got.Payload, want.Payload) {
						t.Fatalf("round %d: payload %q", round, got.Payload)
					}
					break
				}
			}
		}
		if found != datagrams {
			t.Fatalf("round %d: %d datagrams complete: %+v", round, found, d.Stats())
		}
	}
}
