package run

import (
	"crypto/tls"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer"
	keptls "github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// randomConn is a connection of one pair of hosts: long and short bodies, some in records
// of several segments.
func randomConn(t *testing.T, r *rand.Rand) keyedConn {
	t.Helper()
	talk := someTalks[r.IntN(len(someTalks))]
	if r.IntN(3) > 0 {
		talk = nil
		for range 1 + r.IntN(5) {
			n := r.IntN(1 << r.IntN(16))
			talk = append(talk, said{fromClient, request11},
				said{fromServer, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n))})
		}
	}
	version := []uint16{tls.VersionTLS12, tls.VersionTLS13, tls.VersionTLS13}[r.IntN(3)]
	k := keyed(t, talk, version, func() time.Duration { return time.Duration(1+r.IntN(20)) * time.Millisecond })
	k.at, k.end, k.host = time.Duration(r.IntN(400))*time.Millisecond, r.IntN(4), 1
	return k
}

// spoil loses, doubles and swaps some packets.
func spoil(frames []sniffer.Frame, r *rand.Rand) []sniffer.Frame {
	for range 1 + r.IntN(6) {
		switch at := r.IntN(len(frames) - 1); r.IntN(3) {
		case 0:
			frames = slices.Delete(frames, at, at+1)
		case 1:
			frames = slices.Insert(frames, at, frames[at])
		case 2:
			frames[at].Data, frames[at+1].Data = frames[at+1].Data, frames[at].Data
		}
	}
	return frames
}

// sealedStore returns the secrets of a key log.
func sealedStore(log []byte) *keylog.Store {
	store := keylog.New(0)
	_, _ = keylog.NewParser(store).Write(log)
	store.Seal()
	return store
}

// decoded returns the segments of frames.
func decoded(frames []sniffer.Frame) (segments []sniffer.Segment) {
	decoder := sniffer.NewDecoder(sniffer.DecoderConfig{})
	for i := range frames {
		var s sniffer.Segment
		if decoder.Decode(&frames[i], &s) {
			segments = append(segments, s)
		}
	}
	return segments
}

// readAhead returns what a worker finds in segments of which records were opened ahead, of
// so many segments at a time; and in how many of these times there were any.
func readAhead(t *testing.T, segments []sniffer.Segment, store *keylog.Store, size int) (lines []string, opened int) {
	t.Helper()
	f := newFacts(t)
	w := NewWorker(reassembly.Config{}, analyzer.Config{Keys: store, MaxReuseIdle: 16}, f)
	a := newAhead(store)
	defer a.end(math.MaxInt64)
	queue := make(chan *load, 1)
	queue <- nil
	for part := range slices.Chunk(segments, size) {
		var records keptls.Opened
		a.share(part, &records, queue)
		if !reflect.ValueOf(records).FieldByName("records").IsZero() {
			opened++
		}
		w.Analyzer.Ahead(&records)
		w.Process(part...)
		records.Wipe()
	}
	w.Flush()
	slices.Sort(f.lines)
	return f.lines, opened
}

// TestAhead holds that nothing is found otherwise where records are opened ahead, on
// connections of one pair of hosts, with packets that are lost, come twice or out of order.
func TestAhead(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	all := 0
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 8))
		var conns []keyedConn
		var keys []byte
		for range 3 + r.IntN(5) {
			k := randomConn(t, r)
			conns = append(conns, k)
			if r.IntN(8) > 0 {
				keys = append(keys, k.keys...)
			}
		}
		frames := keyedFrames(t, conns)
		if seed%2 == 1 {
			frames = spoil(frames, r)
		}
		want := playKeyed(t, &sniffertest.Source{Frames: frames}, 1, sealedStore(keys))
		for _, workers := range []int{2, 3} {
			got := playKeyed(t, &sniffertest.Source{Frames: frames, Size: []int{0, 3}[r.IntN(2)]}, workers, sealedStore(keys))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, %d workers: %s", seed, workers, diff)
			}
		}
		got, opened := readAhead(t, decoded(frames), sealedStore(keys), 1+r.IntN(200))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		if opened > 0 {
			all++
		}
	}
	if all < rounds*3/4 {
		t.Errorf("records of only %d captures were opened ahead", all)
	}
}

// TestFlows holds whose place is whose, and when it is free again.
func TestFlows(t *testing.T) {
	k := keyed(t, someTalks[0], tls.VersionTLS13, func() time.Duration { return time.Millisecond })
	k.host, k.end = 1, 1
	store := sealedStore(k.keys)
	var whole []sniffer.Segment // without those that are silent
	for _, s := range decoded(keyedFrames(t, []keyedConn{k})) {
		if len(s.Payload) > 0 || s.Flags&sniffer.FIN != 0 {
			whole = append(whole, s)
		}
	}
	n := slices.IndexFunc(whole, func(s sniffer.Segment) bool { return s.Flags&sniffer.FIN != 0 })
	open := whole[:n]
	last := open[n-1]
	with := func(s sniffer.Segment, change func(s *sniffer.Segment)) []sniffer.Segment {
		change(&s)
		return append(slices.Clone(open), s)
	}
	for _, tt := range []struct {
		name     string
		segments []sniffer.Segment
		free     bool
	}{
		{"open", open, false},
		{"its last again", with(last, func(*sniffer.Segment) {}), false},
		{"another's ClientHello", with(open[0], func(s *sniffer.Segment) { s.Src.Port++; s.Dst.Port-- }), false},
		{"another's end", with(open[0], func(s *sniffer.Segment) { s.Src.Port++; s.Dst.Port--; s.Payload, s.Flags = nil, sniffer.RST }), false},
		{"silent for a while", with(last, func(s *sniffer.Segment) { s.Protocol = sweep; s.Time += flowSilent - 1 }), false},
		{"silent", with(last, func(s *sniffer.Segment) { s.Protocol = sweep; s.Time += flowSilent }), true},
		{"FIN", whole[:n+1], true},
		{"RST", with(last, func(s *sniffer.Segment) { s.Flags |= sniffer.RST }), true},
		{"a gap", with(last, func(s *sniffer.Segment) { s.Seq += 100_000 }), true},
		{"no record", with(last, func(s *sniffer.Segment) { s.Seq += uint32(len(s.Payload)); s.Payload = []byte("HTTP/1.1") }), true},
		{"half a ClientHello", with(open[0], func(s *sniffer.Segment) { s.Payload = s.Payload[:20] }), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, opened := newAhead(store), keptls.Opened{}
			a.share(tt.segments, &opened, make(chan *load))
			flows := slices.DeleteFunc(slices.Clone(a.flows[:]), func(f *flow) bool { return f == nil })
			if len(flows) != 1 || reflect.ValueOf(*flows[0]).IsZero() != tt.free {
				t.Fatalf("%d places", len(flows))
			}
			if a.end(math.MaxInt64); !reflect.ValueOf(*flows[0]).IsZero() {
				t.Error("something is left")
			}
		})
	}
}

// TestParted holds that connections are followed where one worker has most of the work.
func TestParted(t *testing.T) {
	k := keyed(t, someTalks[0], tls.VersionTLS13, func() time.Duration { return time.Millisecond })
	k.host = 1
	segments := decoded(keyedFrames(t, []keyedConn{k}))
	for _, tt := range []struct {
		others   []int // segments of other workers, by part of those of the first
		followed bool
	}{
		{[]int{0}, true},
		{[]int{32}, true},
		{[]int{34}, false},
		{[]int{16, 16}, true},
		{[]int{16, 18}, false},
	} {
		l := load{share: [][]sniffer.Segment{segments}}
		for _, n := range tt.others {
			l.share = append(l.share, make([]sniffer.Segment, len(segments)*n/100))
		}
		a := newAhead(sealedStore(k.keys))
		a.open(&l, make([]chan *load, len(l.share)))
		if followed := slices.ContainsFunc(a.flows[:], func(f *flow) bool { return f != nil }); followed != tt.followed {
			t.Errorf("%v: %t", tt.others, followed)
		}
	}
}
