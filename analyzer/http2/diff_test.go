package http2

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A sent is one header block with its frames, or one other frame, as x/net's Framer wrote it.
type sent struct {
	from http.Side
	in   []byte
}

// A talk is a random conversation that keeps the rules: it is the same for the same seed.
type talk struct {
	rand    *rand.Rand
	out     [2]bytes.Buffer
	framer  [2]*xhttp2.Framer
	fields  [2]*script
	next    uint32
	pushed  uint32
	streams map[uint32]*talkStream
	ids     []uint32
	sent    []sent
}

type talkStream struct {
	ended, final [2]bool
	heard        bool
}

func newTalk(seed uint64) *talk {
	k := &talk{rand: rand.New(rand.NewPCG(seed, 2)), next: 1, streams: map[uint32]*talkStream{}}
	for side := range k.framer {
		k.framer[side] = xhttp2.NewFramer(&k.out[side], nil)
		k.fields[side] = newScript(seed + uint64(side)<<32)
	}
	return k
}

func (k *talk) yes(oneIn int) bool { return k.rand.IntN(oneIn) == 0 }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// flush ends a step of one side.
func (k *talk) flush(from http.Side) {
	if k.out[from].Len() > 0 {
		k.sent = append(k.sent, sent{from, bytes.Clone(k.out[from].Bytes())})
		k.out[from].Reset()
	}
}

// heads writes a header section with the given pseudo-field first, if any.
func (k *talk) heads(from http.Side, id uint32, end bool, pseudo ...hpack.HeaderField) {
	s := k.fields[from]
	block := s.section(pseudo, 6)
	first := len(block)
	if k.yes(3) {
		first = k.rand.IntN(len(block) + 1)
	}
	p := xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: block[:first], EndStream: end, EndHeaders: first == len(block)}
	if k.yes(3) {
		p.PadLength = uint8(k.rand.IntN(256))
	}
	if k.yes(4) {
		p.Priority = xhttp2.PriorityParam{StreamDep: 3, Weight: 9}
	}
	must(k.framer[from].WriteHeaders(p))
	for first < len(block) {
		n := min(1+k.rand.IntN(40), len(block)-first)
		must(k.framer[from].WriteContinuation(id, first+n == len(block), block[first:first+n]))
		first += n
	}
}

// section encodes a header section: pseudo-fields, then up to n others.
func (s *script) section(pseudo []hpack.HeaderField, n int) []byte {
	s.buf.Reset()
	if len(pseudo) > 0 && s.rand.IntN(8) == 0 {
		s.enc.SetMaxDynamicTableSize([]uint32{0, 64, 200, 1000, 4096}[s.rand.IntN(5)])
	}
	for range s.rand.IntN(n) + 1 {
		f := s.field()
		if len(pseudo) > 0 {
			f, pseudo = pseudo[0], pseudo[1:]
		} else if f.Name[0] == ':' {
			continue
		}
		must(s.enc.WriteField(f))
	}
	for _, f := range pseudo {
		must(s.enc.WriteField(f))
	}
	return s.buf.Bytes()
}

func (k *talk) open() {
	id := k.next
	k.next += 2 * uint32(1+k.rand.IntN(2))
	s := &talkStream{}
	k.streams[id], k.ids = s, append(k.ids, id)
	s.ended[http.Client] = k.yes(2)
	method := k.fields[0].pick("GET", "POST", "HEAD", "CONNECT", "PATCH")
	pseudo := []hpack.HeaderField{{Name: ":method", Value: method}, {Name: ":authority", Value: k.fields[0].pick("a", "b.example:8080")}}
	if method == "CONNECT" && k.yes(2) {
		pseudo = append(pseudo, hpack.HeaderField{Name: ":protocol", Value: "websocket"})
	}
	k.heads(http.Client, id, s.ended[http.Client], pseudo...)
}

// body sends data, or trailers.
func (k *talk) body(from http.Side, id uint32, s *talkStream) {
	s.ended[from] = k.yes(3)
	if s.ended[from] && k.yes(3) {
		k.heads(from, id, true)
		return
	}
	body := make([]byte, k.rand.IntN(60))
	if k.yes(3) {
		must(k.framer[from].WriteDataPadded(id, s.ended[from], body, make([]byte, k.rand.IntN(256))))
		return
	}
	must(k.framer[from].WriteData(id, s.ended[from], body))
}

func (k *talk) stream() {
	if len(k.ids) == 0 {
		return
	}
	i := k.rand.IntN(len(k.ids))
	id := k.ids[i]
	s := k.streams[id]
	from := http.Side(k.rand.IntN(2))
	switch {
	case s.ended[0] && s.ended[1]:
		k.ids = append(k.ids[:i], k.ids[i+1:]...)
	case k.yes(10):
		must(k.framer[from].WriteRSTStream(id, xhttp2.ErrCode(k.rand.IntN(14))))
		if k.yes(2) {
			k.flush(from)
			must(k.framer[from.Other()].WriteRSTStream(id, xhttp2.ErrCodeCancel))
		}
		s.ended = [2]bool{true, true}
	case s.ended[from]:
	case from == http.Client || s.final[from]:
		k.body(from, id, s)
	default:
		status := k.fields[1].pick("103", "100", "200", "404", "503", "204")
		s.final[from] = status[0] != '1'
		s.ended[from] = s.final[from] && k.yes(4)
		k.heads(from, id, s.ended[from], hpack.HeaderField{Name: ":status", Value: status})
	}
}

func (k *talk) push() {
	if len(k.ids) == 0 {
		return
	}
	k.pushed += 2
	block := k.fields[1].section([]hpack.HeaderField{{Name: ":method", Value: "GET"}}, 5)
	must(k.framer[1].WritePushPromise(xhttp2.PushPromiseParam{StreamID: k.ids[0], PromiseID: k.pushed, BlockFragment: block, EndHeaders: true, PadLength: uint8(k.rand.IntN(9))}))
	k.flush(http.Server)
	k.heads(http.Server, k.pushed, false, hpack.HeaderField{Name: ":status", Value: "200"})
	k.flush(http.Server)
	must(k.framer[1].WriteData(k.pushed, true, []byte("pushed")))
}

func (k *talk) control() {
	f := k.framer[k.rand.IntN(2)]
	switch k.rand.IntN(8) {
	case 0:
		must(f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: uint32(k.rand.IntN(200))}, xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: 9}))
	case 1:
		must(f.WriteSettingsAck())
	case 2:
		must(f.WritePing(k.yes(2), [8]byte{1}))
	case 3:
		must(f.WriteGoAway(uint32(k.rand.IntN(99)), xhttp2.ErrCode(k.rand.IntN(14)), make([]byte, k.rand.IntN(20))))
	case 4:
		must(f.WriteWindowUpdate(uint32(k.rand.IntN(9)), 1))
	case 5:
		must(f.WritePriority(uint32(1+k.rand.IntN(9)), xhttp2.PriorityParam{StreamDep: 11}))
	case 6:
		must(f.WriteRawFrame(xhttp2.FrameType(0x20+k.rand.IntN(200)), xhttp2.Flags(k.rand.IntN(256)), uint32(k.rand.IntN(9)), make([]byte, k.rand.IntN(50))))
	case 7:
		must(f.WriteSettings())
	}
}

// steps makes n steps of a conversation.
func (k *talk) steps(n int) []sent {
	for range n {
		switch {
		case k.yes(5):
			k.open()
		case k.yes(8):
			k.control()
		case k.yes(30):
			k.push()
		default:
			k.stream()
		}
		k.flush(http.Client)
		k.flush(http.Server)
	}
	return k.sent
}

// An oracle tells what a conversation says, by x/net's Framer and decoder.
type oracle struct {
	recorder
	in      [2]bytes.Buffer
	framer  [2]*xhttp2.Framer
	decoder [2]*hpack.Decoder
	streams map[uint32]*talkStream
	limit   [2]uint32

	block []byte // with its HEADERS or PUSH_PROMISE
	id    uint32
	end   bool
	push  bool
}

func newOracle() *oracle {
	o := &oracle{recorder: recorder{responds: true}, streams: map[uint32]*talkStream{}, limit: [2]uint32{http.Unlimited, http.Unlimited}}
	for side := range o.framer {
		o.framer[side] = xhttp2.NewFramer(nil, &o.in[side])
		o.framer[side].SetMaxReadFrameSize(maxLimit)
		o.decoder[side] = hpack.NewDecoder(defaultTable, nil)
	}
	return o
}

func (o *oracle) read(from http.Side, in []byte) {
	o.in[from].Write(in)
	for o.in[from].Len() > 0 {
		f, err := o.framer[from].ReadFrame()
		must(err)
		o.frame(from, f)
	}
}

func (o *oracle) frame(from http.Side, f xhttp2.Frame) {
	id := f.Header().StreamID
	if kind := f.Header().Type; from == http.Server && (kind == xhttp2.FrameHeaders || kind == xhttp2.FrameData) {
		if s := o.streams[id]; s != nil && !s.heard && (!s.ended[0] || !s.ended[1]) {
			s.heard = true
			o.Responds(http.Stream(id), 0)
		}
	}
	switch f := f.(type) {
	case *xhttp2.HeadersFrame:
		o.block, o.id, o.end, o.push = bytes.Clone(f.HeaderBlockFragment()), id, f.StreamEnded(), false
		if f.HeadersEnded() {
			o.section(from)
		}
	case *xhttp2.PushPromiseFrame:
		o.block, o.id, o.end, o.push = bytes.Clone(f.HeaderBlockFragment()), id, false, true
		if f.HeadersEnded() {
			o.section(from)
		}
	case *xhttp2.ContinuationFrame:
		o.block = append(o.block, f.HeaderBlockFragment()...)
		if f.HeadersEnded() {
			o.section(from)
		}
	case *xhttp2.DataFrame:
		if f.StreamEnded() {
			o.ended(from, id)
		}
	case *xhttp2.RSTStreamFrame:
		if s := o.streams[id]; s != nil && (!s.ended[0] || !s.ended[1]) {
			s.ended = [2]bool{true, true}
			o.Reset(http.Stream(id), from, http.Code(f.ErrCode), 0)
		}
	case *xhttp2.SettingsFrame:
		if f.IsAck() {
			return
		}
		if v, ok := f.Value(xhttp2.SettingMaxConcurrentStreams); ok {
			o.limit[from] = v
		}
		o.Settings(from, o.limit[from], 0)
	case *xhttp2.PingFrame:
		if !f.IsAck() {
			o.Ping(from, 0)
		}
	case *xhttp2.GoAwayFrame:
		o.Goaway(from, http.Stream(f.LastStreamID), http.Code(f.ErrCode), 0)
	}
}

func (o *oracle) ended(from http.Side, id uint32) {
	if s := o.streams[id]; s != nil && !s.ended[from] {
		s.ended[from] = true
		o.End(http.Stream(id), from, 0)
	}
}

// section takes a header block, which is decoded whatever it is of.
func (o *oracle) section(from http.Side) {
	list, err := o.decoder[from].DecodeFull(o.block)
	must(err)
	said, status := netSaid(list, from)
	switch s := o.streams[o.id]; {
	case o.push:
		o.Push(0)
	case o.id&1 == 0:
	case from == http.Client:
		if s == nil {
			s = &talkStream{}
			o.streams[o.id] = s
			o.add(0, "begin %d", o.id)
			o.add(0, "request %d %s", o.id, said)
		}
		if o.end {
			o.ended(from, o.id)
		}
	case s != nil:
		if len(list) > 0 && list[0].Name == ":status" {
			o.add(0, "response %d %s", o.id, said)
		}
		if o.end {
			for _, f := range list {
				if f.Name == "grpc-status" {
					o.GRPCStatus(http.Stream(o.id), status, 0)
					break
				}
			}
			o.ended(from, o.id)
		}
	}
}

// checkTalk compares what is told of a conversation, in segments of up to n bytes, with the oracle.
func checkTalk(t *testing.T, seed uint64, steps, n int) {
	t.Helper()
	k, o, r := newTalk(seed), newOracle(), &recorder{responds: true}
	cut := rand.New(rand.NewPCG(seed, 3))
	q := new(Pool)
	var c Conn
	c.Reset(q, r, Prior)
	c.Data(http.Client, []byte(Preface), 0)
	for i, s := range k.steps(steps) {
		o.read(s.from, s.in)
		for rest := s.in; len(rest) > 0; {
			m := min(1+cut.IntN(n), len(rest))
			c.Data(s.from, bytes.Clone(rest[:m]), 0)
			rest = rest[m:]
		}
		if !slices.Equal(o.events, r.events) {
			d := cmp.Diff(strings.Join(o.events, "\n"), strings.Join(r.events, "\n"))
			t.Fatalf("seed %d, step %d, %v %q (-x/net +http2):\n%s", seed, i, s.from, s.in, d)
		}
		o.events, r.events = o.events[:0], r.events[:0]
	}
	c.Release()
	checkReleased(t, q)
}

func TestTalk(t *testing.T) {
	for seed := range uint64(150) {
		checkTalk(t, seed, 400, []int{1, 7, 50, 1 << 20}[seed%4])
	}
}

func FuzzDifferential(f *testing.F) {
	f.Add(uint64(0), uint16(3))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16) { checkTalk(t, seed, 200, int(n)+1) })
}

// FuzzConn reads anything: steps of a byte that says what they are, one with a length, and bytes.
func FuzzConn(f *testing.F) {
	for _, w := range append(wireCases, lossCases...) {
		var in []byte
		for _, s := range w.steps {
			what := byte(s.from)
			if s.gap > 0 {
				in = append(in, what|2, byte(s.gap), 0)
				continue
			}
			in = append(in, what, byte(len(s.in)), byte(len(s.in)>>8))
			in = append(in, s.in...)
		}
		f.Add(uint8(w.start), in)
	}
	f.Fuzz(func(t *testing.T, start uint8, in []byte) {
		q := &Pool{Max: 3000, MaxStreams: 400}
		r := &checker{t: t, reset: map[http.Stream]bool{}, begun: map[http.Stream]bool{}}
		var c Conn
		c.Reset(q, r, Start(start%4))
		for at := int64(0); len(in) >= 3; at++ {
			what, n := in[0], int(binary.LittleEndian.Uint16(in[1:]))
			in = in[3:]
			switch from := http.Side(what & 1); {
			case what&2 != 0:
				c.Gap(from, int64(n), at)
			case what&4 != 0:
				c.Close(from, at)
			default:
				n = min(n, len(in))
				c.Data(from, in[:n], at)
				in = in[n:]
			}
			if q.held > q.Max || q.heldStreams > q.MaxStreams || q.held < 0 || q.heldStreams < 0 {
				t.Fatalf("held %d, %d of streams", q.held, q.heldStreams)
			}
			c.check(t)
		}
		c.Close(http.Client, 0)
		c.Close(http.Server, 0)
		c.Release()
		checkReleased(t, q)
	})
}

// check holds what must be true of a Conn between calls.
func (c *Conn) check(t *testing.T) {
	t.Helper()
	var n uint32
	for i, s := range c.streams {
		if s.flags&unasked != 0 {
			n++
		}
		if i > 0 && c.streams[i-1].id >= s.id || s.id&1 == 0 || s.isDone() {
			t.Fatalf("streams %v", c.streams)
		}
	}
	if n != c.unasked {
		t.Fatalf("%d streams have no request, and %d are counted", n, c.unasked)
	}
}

// A checker checks what must be true of all that is told.
type checker struct {
	recorder
	t            *testing.T
	reset, begun map[http.Stream]bool
}

func (k *checker) Request(s http.Stream, _ *http.Head, _ int64) {
	if k.begun[s] {
		k.t.Fatalf("two requests on stream %d", s)
	}
	k.begun[s] = true
}

func (k *checker) Reset(s http.Stream, _ http.Side, _ http.Code, _ int64) {
	if k.reset[s] && k.begun[s] {
		k.t.Fatalf("two resets of stream %d", s)
	}
	k.reset[s] = true
}

func (k *checker) Response(s http.Stream, h *http.Head, _ int64) {
	if s&1 == 0 || h.Status == 0 && !h.Partial {
		k.t.Fatalf("response %d %+v", s, h)
	}
	_ = describe(h)
}
