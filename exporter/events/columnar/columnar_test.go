package columnar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/exporter/events"
	"github.com/keepscope/keepscope/sniffer"
)

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 1, time.UTC).UnixNano()

func address(s string) sniffer.Endpoint {
	ap := netip.MustParseAddrPort(s)
	return sniffer.Endpoint{Addr: ap.Addr().As16(), Port: ap.Port()}
}

func plain() *fact.Connection {
	return &fact.Connection{
		ID: 0xc0ffee00000001, Client: address("10.0.0.7:40112"), Server: address("[2001:db8::2]:8080"), ServerName: "a\xffb\"c",
		Start: epoch, End: epoch + 5e9, HandshakeTime: 310_000, Handshake: fact.HandshakeComplete, CloseIdle: fact.Absent,
		Protocol: fact.ProtocolHTTP11, Versions: [http.NumVersions]bool{http.HTTP10: true, http.HTTP11: true}, Requests: 3,
		Negotiated: [fact.NumOutcomes]uint32{fact.KeepAlive: 2, fact.ClientClose: 1}, ReuseIdle: []int64{510_000_000, 1_020_000_000},
		ClosedBy: fact.ByClient, ClosedWith: fact.WithFIN, Reason: fact.ReasonClientClose, Verdict: fact.VerdictNeeded,
	}
}

func rich() *fact.Connection {
	c := plain()
	c.TLS, c.Keys, c.ReuseIdle, c.Versions = &fact.TLS{Version: 0x0304, SNI: "shop.example", Handshake: 2_100_000}, fact.KeysDecrypted, nil, [http.NumVersions]bool{}
	c.Streams = &fact.Streams{Limit: 100, AtLimit: 2e9, GRPC: true, GRPCStatus: [http.NumGRPCStatuses]uint32{14: 1}}
	c.Streams.Goaway[fact.ByClient] = fact.Goaway{Seen: true, Code: http.NoError, Last: 1, At: epoch + 1e9}
	c.Streams.Goaway[fact.ByServer] = fact.Goaway{Seen: true, Code: http.EnhanceYourCalm, Last: 17, At: epoch + 3e9}
	c.Verdict, c.Cause, c.Cost = fact.VerdictWasted, fact.Cause(fact.ReasonServerIdle), fact.Cost{TCP: 300_000, TLS: 2_100_000}
	c.CouldReuse = &fact.CouldReuse{ID: 0xabc, Port: 40000, Start: epoch - 1e9, UsableUntil: fact.Absent}
	return c
}

// A goaway and the row below are what others would declare to read a file.
type goaway struct {
	By   *string `parquet:"by"`
	Code *string `parquet:"code"`
	Last *int64  `parquet:"last_stream"`
	Age  *int64  `parquet:"age_nanoseconds"`
}

type row struct {
	Node      *string `parquet:"node"`
	Namespace *string `parquet:"namespace"`
	ID        *string `parquet:"id"`
	Client    struct {
		IP   *string `parquet:"ip"`
		Port *int64  `parquet:"port"`
	} `parquet:"client"`
	Server struct {
		IP *string `parquet:"ip"`
	} `parquet:"server"`
	ServerName *string `parquet:"server_name"`
	Start      *int64  `parquet:"start"`
	TLS        struct {
		Version   *string `parquet:"version"`
		Resumed   *bool   `parquet:"resumed"`
		Handshake *int64  `parquet:"handshake_nanoseconds"`
	} `parquet:"tls"`
	Decrypted  *bool    `parquet:"decrypted"`
	GRPC       *bool    `parquet:"grpc"`
	Versions   []string `parquet:"http_versions,list"`
	Negotiated struct {
		KeepAlive *int64 `parquet:"keep_alive"`
		Close     *int64 `parquet:"client_close"`
		Upgraded  *int64 `parquet:"upgraded"`
	} `parquet:"negotiated"`
	ReuseIdle  []int64  `parquet:"reuse_idle_nanoseconds,list"`
	CloseIdle  *int64   `parquet:"close_idle_nanoseconds"`
	Goaway     []goaway `parquet:"goaway,list"`
	GRPCStatus struct {
		Unavailable *int64 `parquet:"UNAVAILABLE"`
		Internal    *int64 `parquet:"INTERNAL"`
	} `parquet:"grpc_status"`
	Cause      *string `parquet:"cause"`
	Cost       *int64  `parquet:"cost_nanoseconds"`
	CouldReuse struct {
		ID          *string `parquet:"id"`
		UsableUntil *int64  `parquet:"usable_until"`
	} `parquet:"could_reuse"`
}

var connections = New("connection", events.Connections)

func file(t testing.TB, place Place, list ...*fact.Connection) []byte {
	t.Helper()
	var out bytes.Buffer
	w := connections.NewWriter(&out, place, "1.2.3")
	for _, c := range list {
		if err := w.Write(connections.Append(nil, c)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRows(t *testing.T) {
	got, err := parquet.Read[row](bytes.NewReader(file(t, Place{Node: "n1"}, plain(), rich())), int64(len(file(t, Place{Node: "n1"}, plain(), rich()))))
	if err != nil {
		t.Fatal(err)
	}
	var first, second row
	first.Node, first.ID, first.ServerName, first.Start = new("n1"), new("00c0ffee00000001"), new("a\uFFFDb\"c"), new(epoch)
	first.Client.IP, first.Client.Port, first.Server.IP = new("10.0.0.7"), new(int64(40112)), new("2001:db8::2")
	second = first
	for _, r := range []*row{&first, &second} {
		r.Negotiated.KeepAlive, r.Negotiated.Close, r.Negotiated.Upgraded = new(int64(2)), new(int64(1)), new(int64(0))
	}
	first.GRPC = new(false)
	first.Versions, first.ReuseIdle = []string{"HTTP/1.0", "HTTP/1.1"}, []int64{510_000_000, 1_020_000_000}
	first.Goaway, second.Versions, second.ReuseIdle = []goaway{}, []string{}, []int64{}
	second.TLS.Version, second.TLS.Resumed, second.TLS.Handshake = new("1.3"), new(false), new(int64(2_100_000))
	second.Decrypted, second.GRPC = new(true), new(true)
	second.Goaway = []goaway{
		{new("client"), new("NO_ERROR"), new(int64(1)), new(int64(1e9))},
		{new("server"), new("ENHANCE_YOUR_CALM"), new(int64(17)), new(int64(3e9))},
	}
	second.GRPCStatus.Unavailable, second.GRPCStatus.Internal = new(int64(1)), new(int64(0))
	second.Cause, second.Cost, second.CouldReuse.ID = new("server_idle"), new(int64(2_400_000)), new("0000000000000abc")
	if diff := cmp.Diff([]row{first, second}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// Rows are whole however they fall into row groups: none, one that is longer than a
// group should be, and others around it.
func TestBatches(t *testing.T) {
	long := plain()
	long.ReuseIdle = slices.Repeat([]int64{math.MaxInt64}, groupBytes/8)
	for _, list := range [][]*fact.Connection{nil, {long}, {plain(), rich(), long, rich(), long}} {
		got, err := parquet.Read[row](bytes.NewReader(file(t, Place{Node: "n1"}, list...)), int64(len(file(t, Place{Node: "n1"}, list...))))
		if err != nil || len(got) != len(list) {
			t.Fatalf("%d rows of %d, %v", len(got), len(list), err)
		}
		for i, c := range list {
			if len(got[i].ReuseIdle) != len(c.ReuseIdle) || *got[i].Node != "n1" || *got[i].ServerName == "" || (got[i].Cause != nil) != (c.Verdict == fact.VerdictWasted) {
				t.Errorf("row %d of %d is %+v", i, len(list), got[i])
			}
		}
	}
}

// The schema is a contract: who adds a column adds it here, who changes one changes
// SchemaVersion.
func TestSchema(t *testing.T) {
	schema := connections.Schema()
	for _, want := range []string{
		"optional binary node (STRING)", "optional int64 start (TIMESTAMP(isAdjustedToUTC=false,unit=NANOS))",
		"optional int64 handshake_nanoseconds (INT(64,true))", "optional int64 keep_alive (INT(64,true))",
		"required group reuse_idle_nanoseconds (LIST)", "optional binary id (STRING)", "optional boolean race",
	} {
		if !strings.Contains(schema, want) {
			t.Errorf("the schema has no %s", want)
		}
	}
	if strings.Index(schema, "community_id") > strings.Index(schema, "server_name") {
		t.Error("the columns are not in the table's order")
	}
	f, err := parquet.OpenFile(bytes.NewReader(file(t, Place{}, plain())), int64(len(file(t, Place{}, plain()))))
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := f.Lookup("keepscope.schema"); v != SchemaVersion {
		t.Errorf("metadata keepscope.schema is %q", v)
	}
	if f.NumRows() != 1 {
		t.Errorf("%d rows", f.NumRows())
	}
}

// Whatever comes out of a queue is an error, or a row of a file that can be read.
func FuzzWrite(f *testing.F) {
	f.Add(connections.Append(nil, plain())[:40])
	f.Add(connections.Append(nil, rich()))
	f.Add([]byte{kindBytes | inRow, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		w := connections.NewWriter(&out, Place{Node: "n1"}, "")
		if w.Write(b) != nil {
			return
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		rows := file.RowGroups()[0].Rows()
		defer rows.Close()
		if n, err := rows.ReadRows(make([]parquet.Row, 2)); n != 1 || err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}

func TestBrokenRow(t *testing.T) {
	w := connections.NewWriter(io.Discard, Place{}, "")
	for _, b := range [][]byte{{kindInt}, {kindBytes, 5, 'a'}, binary.AppendUvarint([]byte{kindBytes}, 1<<63)} {
		if err := w.Write(b); !errors.Is(err, errRow) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

// A file's row groups are bounded, and with them what a writer holds.
func TestMemory(t *testing.T) {
	c := rich()
	c.ReuseIdle = make([]int64, 1024)
	r := rand.New(rand.NewPCG(1, 1))
	w := connections.NewWriter(io.Discard, Place{}, "")
	var b []byte
	var most uint64
	for i := range 10_000 {
		c.ID, c.ServerName = r.Uint64(), fmt.Sprintf("%d.example", r.Uint32())
		for k := range c.ReuseIdle {
			c.ReuseIdle[k] = r.Int64N(1e10)
		}
		b = connections.Append(b[:0], c)
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	if most > 96<<20 {
		t.Errorf("%d MiB are held", most>>20)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	c, b := rich(), make([]byte, 0, 4096)
	c.ServerName = "shop.example" // what is not UTF-8 is made anew
	if n := testing.AllocsPerRun(100, func() { b = connections.Append(b[:0], c) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	w := connections.NewWriter(io.Discard, Place{Node: "n1"}, "")
	c, row := plain(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		c.ID += 0x9e3779b97f4a7c15
		c.Start += 1e6
		row = connections.Append(row[:0], c)
		if err := w.Write(row); err != nil {
			b.Fatal(err)
		}
	}
}

func Example() {
	var out bytes.Buffer
	w := connections.NewWriter(&out, Place{Node: "n1"}, "1.2.3")
	_ = w.Write(connections.Append(nil, plain())) // a buffer takes all
	_ = w.Close()
	rows, _ := parquet.Read[row](bytes.NewReader(out.Bytes()), int64(out.Len()))
	fmt.Println(*rows[0].Node, *rows[0].ID, time.Unix(0, *rows[0].Start).UTC().Format(time.DateTime), rows[0].ReuseIdle)
	// Output: n1 00c0ffee00000001 2026-11-22 10:00:00 [510000000 1020000000]
}
