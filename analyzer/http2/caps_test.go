package http2

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/http"
)

// openConn returns a connection whose client has sent its preface.
func openConn(q *Pool, sink http.StreamSink) *Conn {
	c := new(Conn)
	c.Reset(q, sink, Prior)
	c.Data(http.Client, []byte(Preface+noSettings), 0)
	c.Data(http.Server, []byte(noSettings), 0)
	return c
}

// TestSize says what an idle connection costs.
func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 320 {
		t.Errorf("a Conn has %d bytes", n)
	}
	if unsafe.Sizeof(stream{}) != uintptr(streamSize) {
		t.Errorf("a stream has %d bytes", unsafe.Sizeof(stream{}))
	}
	q := new(Pool)
	x := newExchanger(new(counter), q, 1, true)
	for range 100 {
		x.round()
	}
	t.Logf("a Conn has %d bytes; after 100 gRPC calls its tables and list hold %d and %d", unsafe.Sizeof(Conn{}), q.Held(), q.HeldStreams())
	if q.Held() > 1024 || q.HeldStreams() > 64 {
		t.Errorf("held %d, streams %d", q.Held(), q.HeldStreams())
	}
}

func TestBlockCap(t *testing.T) {
	q, r := new(Pool), new(recorder)
	c := openConn(q, r)
	r.take()
	// As long as may be, and after it the table is known.
	block := get + hostA
	for len(block) < MaxBlock-200 {
		block += fields("x", strings.Repeat("y", 100))
	}
	send := func(id uint32, block string) {
		t.Helper()
		c.Data(http.Client, []byte(frame(headersFrame, flagEndStream, id, block[:100])), 0)
		for block = block[100:]; len(block) > 1000; block = block[1000:] {
			c.Data(http.Client, []byte(frame(continuationFrame, 0, id, block[:1000])), 0)
		}
		c.Data(http.Client, []byte(frame(continuationFrame, flagEndHeaders, id, block)), 0)
	}
	send(1, block)
	c.Data(http.Client, []byte(headsEnd(3, get+"\xbe")), 0)
	want := "begin 1, request 1 GET host=a, end 1 client, begin 3, request 3 GET host=a, end 3 client"
	if d := cmp.Diff(want, r.take()); d != "" || q.Stats != (Stats{}) {
		t.Errorf("(-want +got):\n%s%+v", d, q.Stats)
	}
	// Longer: what comes first is read, and after it the table is not known.
	send(5, block+strings.Repeat(fields("x", "y"), 100))
	c.Data(http.Client, []byte(headsEnd(7, get+"\xbe")), 0)
	want = "begin 5, request 5 GET host=a partial, end 5 client, begin 7, request 7 GET partial, end 7 client"
	if d := cmp.Diff(want, r.take()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// The next one is read whole again, cut or not.
	c.Data(http.Client, []byte(headsEnd(9, get+hostA)[:10]), 0)
	c.Data(http.Client, []byte(hostA), 0)
	if d := cmp.Diff("begin 9, request 9 GET host=a, end 9 client", r.take()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff(Stats{Blocks: 1}, q.Stats); d != "" {
		t.Errorf("stats (-want +got):\n%s", d)
	}
	c.Release()
	checkReleased(t, q)
}

// TestLongFrame is of a header block in one frame that is longer than MaxBlock.
func TestLongFrame(t *testing.T) {
	q, r := new(Pool), new(recorder)
	c := openConn(q, r)
	c.Data(http.Server, []byte(frame(settingsFrame, 0, 0, setting(5, 1<<20))), 0)
	r.take()
	long := headsEnd(1, get+fields("x", strings.Repeat("y", MaxBlock)))
	c.Data(http.Client, []byte(long), 0)
	c.Data(http.Client, []byte(headsEnd(3, get)), 0)
	// In one segment it needs no memory.
	if d := cmp.Diff(asked1+", "+asked3, r.take()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	long = headsEnd(5, get+fields("x", strings.Repeat("y", MaxBlock)))
	c.Data(http.Client, []byte(long[:1460]), 0)
	c.Data(http.Client, []byte(long[1460:]), 0)
	c.Data(http.Client, []byte(headsEnd(7, get)), 0)
	if d := cmp.Diff("begin 5, request 5 OTHER partial, end 5 client, "+asked7, r.take()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if q.Stats.Blocks != 1 {
		t.Errorf("%+v", q.Stats)
	}
}

// TestPoolFullOfBlocks cuts header blocks on more connections than the Pool has memory for.
func TestPoolFullOfBlocks(t *testing.T) {
	q := &Pool{Max: 4000}
	k := new(counter)
	var conns []*Conn
	for range 20 {
		c := openConn(q, k)
		b := headsEnd(1, get+fields("x", strings.Repeat("y", 300)))
		c.Data(http.Client, []byte(b[:200]), 0)
		conns = append(conns, c)
		if q.Held() > q.Max {
			t.Fatalf("held %d", q.Held())
		}
	}
	for _, c := range conns {
		b := headsEnd(1, get+fields("x", strings.Repeat("y", 300)))
		c.Data(http.Client, []byte(b[200:]), 0)
	}
	if k.requests != 20 || q.Stats.Blocks == 0 || q.Stats.Blocks >= 20 {
		t.Errorf("%d requests, %+v", k.requests, q.Stats)
	}
	for _, c := range conns {
		c.Release()
	}
	checkReleased(t, q)
}

// TestTableCaps fills tables: of one connection, and of all.
func TestTableCaps(t *testing.T) {
	q, r := new(Pool), new(recorder)
	c := openConn(q, r)
	c.Data(http.Client, []byte(headsEnd(1, "\x3f\xe1\xff\xff\x03"+get+hostA)), 0) // a table of 8 MiB
	r.take()
	block := strings.Repeat("\x40\x00\x00", 3000)
	for id := uint32(3); id < 13; id += 2 {
		c.Data(http.Client, []byte(headsEnd(id, get+block)), 0)
	}
	if q.Stats.Tables != 1 || q.Held() != 0 {
		t.Errorf("%+v, held %d", q.Stats, q.Held())
	}
	r.take()
	c.Data(http.Client, []byte(headsEnd(13, get+"\xbe")), 0)
	if d := cmp.Diff("begin 13, request 13 GET partial, end 13 client", r.take()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	c.Data(http.Client, []byte(headsEnd(15, "\x20\x3f\x60"+get+hostA)+headsEnd(17, get+"\xbe")), 0)
	if d := cmp.Diff("begin 15, request 15 GET host=a, end 15 client, begin 17, request 17 GET host=a, end 17 client", r.take()); d != "" {
		t.Errorf("after the table was emptied (-want +got):\n%s", d)
	}
	c.Release()

	q = &Pool{Max: 2000}
	k := new(counter)
	for range 20 {
		c := openConn(q, k)
		c.Data(http.Client, []byte(headsEnd(1, get+hostA)+headsEnd(3, get+"\xbe")), 0)
		defer c.Release()
	}
	if k.requests != 40 || q.Stats.Tables == 0 || q.Stats.Tables >= 20 || q.Held() > q.Max || k.lost != 0 {
		t.Errorf("%d requests, %+v, held %d, lost %d", k.requests, q.Stats, q.Held(), k.lost)
	}
}

// TestTableMemory holds that a table's memory follows its size, however many entries pass through it.
func TestTableMemory(t *testing.T) {
	q, k := new(Pool), new(counter)
	c := openConn(q, k)
	for i := range uint32(20000) {
		c.Data(http.Client, []byte(headsEnd(2*i+1, get+"\x41"+plain(strings.Repeat("h", int(i%100))))), 0)
	}
	if k.requests != 20000 || k.lost != 0 || q.Held() > 3*defaultTable || q.Stats.Tables != 0 {
		t.Errorf("held %d, %+v, %+v", q.Held(), k, q.Stats)
	}
	c.Release()
	checkReleased(t, q)
}

// TestStreamCaps opens more streams than are followed: of one connection, and of all.
func TestStreamCaps(t *testing.T) {
	q, k := new(Pool), new(counter)
	c := openConn(q, k)
	const opened = maxStreams + 100
	for i := range uint32(opened) {
		c.Data(http.Client, []byte(headsEnd(2*i+1, get)), 0)
	}
	if c.Open() != maxStreams || q.Stats.Streams != 100 {
		t.Errorf("%d open, %+v", c.Open(), q.Stats)
	}
	for i := range uint32(opened) {
		c.Data(http.Server, []byte(heads(2*i+1, ok)+dataEnd(2*i+1, "x")), 0)
	}
	if k.requests != opened || k.responses != opened || k.ends != 2*opened || k.unanswered != 100 {
		t.Errorf("%+v", k)
	}
	if c.Open() != 0 {
		t.Errorf("%d open", c.Open())
	}
	c.Release()
	checkReleased(t, q)

	q, k = &Pool{MaxStreams: 100}, new(counter) // one list
	x, y := openConn(q, k), openConn(q, k)
	for i := range uint32(20) {
		x.Data(http.Client, []byte(headsEnd(2*i+1, get)), 0)
		y.Data(http.Client, []byte(headsEnd(2*i+1, get)), 0)
	}
	for i := range uint32(20) {
		x.Data(http.Server, []byte(headsEnd(2*i+1, ok)), 0)
		y.Data(http.Server, []byte(headsEnd(2*i+1, ok)), 0)
	}
	if k.requests != 40 || k.responses != 40 || k.ends != 80 || k.unanswered != 12+20 || q.Stats.Streams != 12+20 || q.HeldStreams() > q.MaxStreams {
		t.Errorf("%+v, %+v, held %d", k, q.Stats, q.HeldStreams())
	}
	x.Release()
	y.Release()
	checkReleased(t, q)
}

// TestFloods sends what attackers send: none takes memory, and what is counted is exact.
func TestFloods(t *testing.T) {
	const n = 20000
	for _, c := range []struct {
		name  string
		frame func(i uint32) string
		from  http.Side
		want  counter
	}{
		{"rapid reset", func(i uint32) string { return headsEnd(2*i+1, get) + rst(2*i+1, http.Cancel) }, http.Client,
			counter{begun: n, requests: n, ends: n, resets: n}},
		{"resets of one stream", func(uint32) string { return rst(1, http.Cancel) }, http.Server, counter{resets: 1}},
		{"resets of streams that nobody opened", func(i uint32) string { return rst(2*i+1, http.Cancel) }, http.Client, counter{}},
		{"settings", func(uint32) string { return frame(settingsFrame, 0, 0, setting(1, 0)+setting(3, 5)) }, http.Client, counter{other: n}},
		{"empty settings", func(uint32) string { return noSettings }, http.Client, counter{other: n}},
		{"pings", func(uint32) string { return frame(pingFrame, 0, 0, "12345678") }, http.Client, counter{other: n}},
		{"empty frames", func(uint32) string { return data(1, "") }, http.Client, counter{}},
		{"priorities", func(i uint32) string { return frame(priorityFrame, 0, i, "12345") }, http.Client, counter{}},
		{"continuations", func(i uint32) string {
			if i == 0 {
				return frame(headersFrame, 0, 1, get)
			}
			return frame(continuationFrame, 0, 1, fields("a", "b"))
		}, http.Client, counter{}},
		{"empty continuations", func(i uint32) string {
			if i == 0 {
				return frame(headersFrame, 0, 1, get)
			}
			return frame(continuationFrame, 0, 1, "")
		}, http.Client, counter{}},
		{"header bombs", func(i uint32) string { return headsEnd(2*i+1, get+hostA+strings.Repeat("\xbe", 100)) }, http.Client,
			counter{begun: n, requests: n, ends: n, unanswered: n - maxStreams}},
		{"table resizes", func(i uint32) string { return headsEnd(2*i+1, strings.Repeat("\x3f\xe1\x1f\x20", 20)+get) }, http.Client,
			counter{begun: n, requests: n, ends: n, unanswered: n - maxStreams}},
		{"responses that nobody asked for", func(i uint32) string { return headsEnd(2*i+1, ok) }, http.Server,
			counter{responses: n, ends: n, unanswered: n - maxStreams}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, k := new(Pool), new(counter)
			conn := openConn(q, k)
			k.other = 0
			for i := range uint32(n) {
				conn.Data(c.from, []byte(c.frame(i)), 0)
			}
			if *k != c.want {
				t.Errorf("%+v, want %+v", *k, c.want)
			}
			if held := q.Held() + q.HeldStreams(); held > 200<<10 {
				t.Errorf("held %d bytes", held)
			}
			conn.Release()
			checkReleased(t, q)
		})
	}
}

// TestNoAllocationsAtCaps holds that connections that come and go, cut blocks, and bursts of streams
// allocate nothing once the Pool has memory.
func TestNoAllocationsAtCaps(t *testing.T) {
	q, k := new(Pool), new(counter)
	var c Conn
	in := []byte(Preface + noSettings)
	for i := range uint32(100) {
		in = append(in, headsEnd(2*i+1, get+hostA+fields("x", strings.Repeat("y", 50)))...)
	}
	if n := testing.AllocsPerRun(100, func() {
		c.Reset(q, k, Prior)
		for rest := in; len(rest) > 0; rest = rest[min(len(rest), 70):] {
			c.Data(http.Client, rest[:min(len(rest), 70)], 0)
		}
		c.Gap(http.Client, 5, 0)
		c.Close(http.Client, 0)
		c.Close(http.Server, 0)
		c.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if k.requests == 0 {
		t.Error("no requests")
	}
}
