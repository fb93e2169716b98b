package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// captures returns the folder of real captures with per-stream truth, which is
// no part of this repository.
func captures(t *testing.T) string {
	t.Helper()
	dir := testVariables["KEEPSCOPE_CAPTURES"]
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "captures")
	}
	if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err != nil {
		t.Skip("the captures with known truth are not here; KEEPSCOPE_CAPTURES names their folder")
	}
	return dir
}

// A manifest lists captures and what each TCP stream of them holds.
type manifest struct {
	Captures []struct {
		File  string
		Truth []stream
	}
}

type stream struct {
	Stream        int
	Client        string
	Server        string
	ClientKnownBy string `json:"client_known_by"`
	TCP           struct {
		SYN, SYNACK  int
		FirstClose   *string   `json:"first_close"`
		MissingBytes [2]uint64 `json:"missing_bytes"`
	}
	HTTP *struct {
		Proto     string
		Requests  int
		Responses int
		Unsure    bool
		Versions  []string       `json:"request_versions"`
		Request   map[string]int `json:"connection_values_request"`
		Response  map[string]int `json:"connection_values_response"`
	}
}

// A line is a connection's NDJSON line, as far as the truth speaks of it.
type line struct {
	Client, Server struct {
		IP   netip.Addr
		Port uint16
	}
	Handshake        string
	HandshakeSeconds float64 `json:"handshake_seconds"`
	Protocol         string
	Versions         []string `json:"http_versions"`
	Requests         int
	Responses        int
	Estimated        bool
	Negotiated       map[string]int
	ClosedBy         string `json:"closed_by"`
	ClosedWith       string `json:"closed_with"`
	Reason           string
	Unsettled        bool
	Verdict          string
	Cause            string
	Race             bool
	Incomplete       bool
	Missing          uint64 `json:"missing_bytes"`
	Decrypted        bool
	GRPC             bool
	GRPCStatus       map[string]int `json:"grpc_status"`
	Streams          struct {
		MaxConcurrent      int `json:"max_concurrent"`
		Limit              int
		Refused            int
		ConcurrentRequests int `json:"concurrent_requests"`
	}
	Goaway       []struct{ By, Code string }
	RequestsLost int `json:"requests_lost"`
	matched      bool
}

func (l *line) client() string { return netip.AddrPortFrom(l.Client.IP, l.Client.Port).String() }
func (l *line) server() string { return netip.AddrPortFrom(l.Server.IP, l.Server.Port).String() }

// connections runs 'keepscope read' and returns its lines.
func connections(t *testing.T, args ...string) []line {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), append([]string{"read", "--output=ndjson"}, args...), console{out: &out, err: &errs}); code != 0 {
		t.Errorf("exit status %d: %s", code, errs.String())
	}
	var lines []line
	for text := range strings.Lines(out.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		lines = append(lines, l)
	}
	return lines
}

// TestCaptures compares every figure with what others found in the same
// packets, stream by stream.
func TestCaptures(t *testing.T) {
	dir := captures(t)
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Captures {
		t.Run(c.File, func(t *testing.T) {
			lines := connections(t, filepath.Join(dir, c.File))
			for _, s := range c.Truth {
				key := fmt.Sprint(c.File, " ", s.Stream)
				if why, ok := notStreams[key]; ok {
					t.Logf("stream %d left out: %s", s.Stream, why)
					continue
				}
				checkStream(t, key, s, lines)
			}
			for _, l := range lines {
				if !l.matched {
					t.Errorf("%s → %s (%s, %d requests): the truth has no such stream", l.client(), l.server(), l.Handshake, l.Requests)
				}
			}
		})
	}
}

// notStreams are entries of the truth that are no TCP stream of the capture.
var notStreams = map[string]string{
	"PcapPlusPlus__tcp-reassembly.pcap 6": "frame 66 is an sFlow datagram that quotes the header of a segment sampled elsewhere",
}

// notMissing are entries whose missing bytes are in the capture after all.
var notMissing = map[string]string{
	"tcptrace__http.dmp.gz 49": "frame 1002, a FIN with 1432 bytes of data, is captured whole",
}

// notClosed are entries whose RST ends nothing.
var notClosed = map[string]string{
	"zeek__syn-then-ack-then-rst.pcap 0": "it answers a stale ACK (RFC 9293 §3.5.1)",
}

// canonical parses "address:port", of which IPv6 addresses may lack brackets.
func canonical(s string) string {
	i := strings.LastIndexByte(s, ':')
	addr, err := netip.ParseAddr(strings.Trim(s[:i], "[]"))
	if err != nil {
		return s
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil {
		return s
	}
	return netip.AddrPortFrom(addr, uint16(port)).String()
}

// find takes the earliest unmatched line of a 4-tuple.
func find(lines []line, client, server string) (l *line, turned bool) {
	for i := range lines {
		l := &lines[i]
		if l.matched {
			continue
		}
		if l.client() == client && l.server() == server {
			return l, false
		}
		if l.client() == server && l.server() == client {
			return l, true
		}
	}
	return nil, false
}

func checkStream(t *testing.T, key string, s stream, lines []line) {
	t.Helper()
	l, turned := find(lines, canonical(s.Client), canonical(s.Server))
	where := fmt.Sprintf("stream %d, %s → %s", s.Stream, s.Client, s.Server)
	if l == nil {
		t.Errorf("%s: no connection", where)
		return
	}
	l.matched = true
	if turned && s.ClientKnownBy != "port" {
		t.Errorf("%s: client and server are turned round (known by %s)", where, s.ClientKnownBy)
	}
	check := func(what string, got, want any) {
		if got != want {
			t.Errorf("%s: %s = %v, want %v", where, what, got, want)
		}
	}
	check("SYN or SYN-ACK seen", l.Handshake != "midstream", s.TCP.SYN+s.TCP.SYNACK > 0)
	want := "nobody"
	if s.TCP.FirstClose != nil {
		want = *s.TCP.FirstClose
	}
	got := "nobody"
	if l.ClosedWith != "" {
		by := l.ClosedBy
		if turned {
			by = map[string]string{"client": "server", "server": "client"}[by]
		}
		got = l.ClosedWith + " " + by
	}
	if why, ok := notClosed[key]; ok && got == "nobody" {
		t.Logf("first close of stream left out: %s", why)
	} else if l.ClosedWith != "close_notify" { // which the truth, being TCP's, does not have
		check("first close", got, want)
	}
	if why, ok := notMissing[key]; ok {
		t.Logf("missing bytes of stream %d left out: %s", s.Stream, why)
	} else {
		check("missing bytes", l.Missing, s.TCP.MissingBytes[0]+s.TCP.MissingBytes[1])
	}
	h := s.HTTP
	if h == nil || h.Unsure || h.Proto != "http/1" && h.Proto != "http/1 in SOCKS5" {
		if h == nil {
			check("requests, counted", !l.Estimated && l.Requests > 0, false)
		}
		return
	}
	check("requests", l.Requests, h.Requests)
	check("responses", l.Responses, h.Responses)
	slices.SortFunc(l.Versions, cmp.Compare)
	versions := strings.ReplaceAll(strings.Join(l.Versions, " "), "HTTP/", "")
	check("request versions", versions, strings.ReplaceAll(strings.Join(h.Versions, " "), "HTTP/", ""))
}
