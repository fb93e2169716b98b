package http2

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A counter is a Sink that only counts.
type counter struct{ begun, requests, responses, ends, resets, lost, unanswered, other int }

func (k *counter) Begin(http.Stream, int64)                        { k.begun++ }
func (k *counter) Request(http.Stream, *http.Head, int64)          { k.requests++ }
func (k *counter) Responds(http.Stream, int64)                     {}
func (k *counter) Unanswered(http.Stream, int64)                   { k.unanswered++ }
func (k *counter) Response(http.Stream, *http.Head, int64)         { k.responses++ }
func (k *counter) End(http.Stream, http.Side, int64)               { k.ends++ }
func (k *counter) Reset(http.Stream, http.Side, http.Code, int64)  { k.resets++ }
func (k *counter) Lost(_ http.Side, n uint32)                      { k.lost += int(n) + 1 }
func (k *counter) Settings(http.Side, uint32, int64)               { k.other++ }
func (k *counter) Goaway(http.Side, http.Stream, http.Code, int64) { k.other++ }
func (k *counter) Ping(http.Side, int64)                           { k.other++ }
func (k *counter) Push(int64)                                      { k.other++ }
func (k *counter) GRPCStatus(http.Stream, http.GRPCStatus, int64)  { k.other++ }

// requestFields is what h2load sends, and responseFields what nginx answers.
var (
	requestFields = []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "127.0.0.1:8080"},
		{Name: ":path", Value: "/small.txt"}, {Name: "user-agent", Value: "h2load nghttp2/1.52.0"},
	}
	responseFields = []hpack.HeaderField{
		{Name: ":status", Value: "200"}, {Name: "server", Value: "nginx/1.22.1"}, {Name: "date", Value: "Thu, 26 Nov 2026 10:00:00 GMT"},
		{Name: "content-type", Value: "text/plain"}, {Name: "content-length", Value: "100"},
		{Name: "last-modified", Value: "Sat, 21 Nov 2026 10:00:00 GMT"}, {Name: "etag", Value: "\"65f0c0a1-64\""}, {Name: "accept-ranges", Value: "bytes"},
	}
	grpcRequestFields = []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/shop.Cart/Get"}, {Name: ":authority", Value: "cart:50051"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "user-agent", Value: "grpc-go/1.85.0"}, {Name: "te", Value: "trailers"},
	}
	grpcResponseFields = []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"}}
	grpcTrailerFields  = []hpack.HeaderField{{Name: "grpc-status", Value: "0"}, {Name: "grpc-message", Value: ""}}
)

// encode returns the first block of fields, and one of those after it.
func encode(size uint32, blocks ...[]hpack.HeaderField) (first, later []string) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	if size != defaultTable {
		e.SetMaxDynamicTableSize(size)
	}
	for range 2 {
		first, later = later, nil
		for _, block := range blocks {
			b.Reset()
			for _, f := range block {
				if err := e.WriteField(f); err != nil {
					panic(err)
				}
			}
			later = append(later, b.String())
		}
	}
	return first, later
}

// An exchanger makes what a client with some streams at once and its server send.
type exchanger struct {
	conn             Conn
	id               uint32
	streams          int
	request          []byte // segments, whose ids are filled in
	response         []byte
	requests, answer int // length of one
	idsIn, idsOut    []int
}

func (x *exchanger) fill(b []byte, size int, at []int) {
	for i := range x.streams {
		id := x.id + uint32(2*i)
		for _, k := range at {
			copy(b[i*size+k:], []byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)})
		}
	}
}

func (x *exchanger) round() {
	x.fill(x.request, x.requests, x.idsIn)
	x.fill(x.response, x.answer, x.idsOut)
	x.id += uint32(2 * x.streams)
	x.conn.Data(http.Client, x.request, 1)
	x.conn.Data(http.Server, x.response, 2)
}

// newExchanger begins a connection whose rounds have some requests in a segment, and its
// responses in another.
func newExchanger(sink http.StreamSink, q *Pool, streams int, grpc bool) *exchanger {
	x := &exchanger{streams: streams, id: 3}
	x.conn.Reset(q, sink, Prior)
	x.conn.Data(http.Client, []byte(Preface+noSettings), 0)
	x.conn.Data(http.Server, []byte(noSettings+ack), 0)
	var in, out, ask, answer string
	if grpc {
		first, later := encode(defaultTable, grpcRequestFields)
		in, ask = heads(1, first[0])+dataEnd(1, "12345"), heads(1, later[0])+dataEnd(1, "12345")
		x.idsIn = []int{5, len(ask) - 14 + 5}
		first, later = encode(defaultTable, grpcResponseFields, grpcTrailerFields)
		reply := func(b []string) string { return heads(1, b[0]) + data(1, "12345") + headsEnd(1, b[1]) }
		out, answer = reply(first), reply(later)
		x.idsOut = []int{5, headLength + len(later[0]) + 5, 2*headLength + len(later[0]) + 5 + 5}
	} else {
		first, later := encode(defaultTable, requestFields)
		in, ask = headsEnd(1, first[0]), headsEnd(1, later[0])
		x.idsIn = []int{5}
		first, later = encode(0, responseFields) // nginx fills no table
		reply := func(b []string) string { return heads(1, b[0]) + dataEnd(1, string(make([]byte, 100))) }
		out, answer = reply(first), reply(later)
		x.idsOut = []int{5, headLength + len(later[0]) + 5}
	}
	x.requests, x.answer = len(ask), len(answer)
	x.request = bytes.Repeat([]byte(ask), streams)
	x.response = bytes.Repeat([]byte(answer), streams)
	x.conn.Data(http.Client, []byte(in), 0)
	x.conn.Data(http.Server, []byte(out), 0)
	return x
}

func benchmarkExchanges(b *testing.B, grpc bool) {
	const streams = 20
	k := new(counter)
	x := newExchanger(k, new(Pool), streams, grpc)
	b.ReportAllocs()
	for n := 0; n < b.N; n += streams {
		x.round()
	}
	if k.lost != 0 || k.requests < b.N || k.responses != k.requests || k.ends != 2*k.requests {
		b.Fatalf("%+v of %d", k, b.N)
	}
}

// Per exchange: a request, and its response with a body.
func BenchmarkExchange(b *testing.B)     { benchmarkExchanges(b, false) }
func BenchmarkExchangeGRPC(b *testing.B) { benchmarkExchanges(b, true) }

// BenchmarkExchangeNetHPACK only decodes the header blocks of BenchmarkExchange, with x/net.
func BenchmarkExchangeNetHPACK(b *testing.B) {
	n := 0
	emit := func(hpack.HeaderField) { n++ }
	client, server := hpack.NewDecoder(defaultTable, emit), hpack.NewDecoder(defaultTable, emit)
	first, later := encode(defaultTable, requestFields)
	firstAnswer, answer := encode(0, responseFields)
	write := func(d *hpack.Decoder, block []byte) {
		if _, err := d.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	write(client, []byte(first[0]))
	write(server, []byte(firstAnswer[0]))
	in, out := []byte(later[0]), []byte(answer[0])
	b.ReportAllocs()
	for b.Loop() {
		write(client, in)
		write(server, out)
	}
}

// Per connection of one exchange.
func BenchmarkConnection(b *testing.B) {
	k := new(counter)
	q := new(Pool)
	first, _ := encode(defaultTable, requestFields)
	answer, _ := encode(0, responseFields)
	in := []byte(Preface + noSettings + headsEnd(1, first[0]))
	out := []byte(noSettings + ack + heads(1, answer[0]) + dataEnd(1, string(make([]byte, 100))))
	var c Conn
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(q, k, Prior)
		c.Data(http.Client, in, 0)
		c.Data(http.Server, out, 0)
		c.Close(http.Client, 0)
		c.Close(http.Server, 0)
		c.Release()
	}
}

// BenchmarkRecognise is of segments that are no HTTP/2.
func BenchmarkRecognise(b *testing.B) {
	segments := [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\n\r\n"),
		[]byte("\x17\x03\x03\x00\x40xxxxxxxxxxxxxxxx"), []byte("some text of a body"),
	}
	for b.Loop() {
		for _, s := range segments {
			if Recognise(s) {
				b.Fatal(s)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, grpc := range []bool{false, true} {
		x := newExchanger(new(counter), new(Pool), 20, grpc)
		if n := testing.AllocsPerRun(1000, x.round); n != 0 {
			t.Errorf("gRPC %v: %v allocations a round", grpc, n)
		}
	}
}
