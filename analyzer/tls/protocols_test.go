package tls

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/http1"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/sniffer/capfile"
)

// requests counts the requests of what a client sent: heads in HTTP/1, and HEADERS
// that open a stream in HTTP/2.
func requests(t testing.TB, text []byte) int {
	t.Helper()
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	if rest, ok := bytes.CutPrefix(text, []byte(preface)); ok {
		n := 0
		for len(rest) >= 9 {
			size := int(binary.BigEndian.Uint32(rest) >> 8)
			if rest[3] == 1 {
				n++
			}
			rest = rest[min(9+size, len(rest)):]
		}
		return n
	}
	return messages(text, http1.Request)
}

func messages(text []byte, kind http1.Kind) int {
	var p http1.Parser
	p.Reset(kind, false)
	n := 0
	var m http1.Message
	for {
		k, e := p.Next(text, &m)
		text = text[k:]
		switch e {
		case http1.NeedMore:
			return n
		case http1.Head:
			if !m.Interim() {
				n++
			}
		}
	}
}

// TestProtocols reads captures of real clients and servers, of every kind that is
// meant to be decrypted, and counts requests as their servers' logs do.
func TestProtocols(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(sharedDir(), "protocols", "*.keys"))
	if len(files) == 0 {
		t.Skip("captures are absent")
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".keys")
		t.Run(name, func(t *testing.T) {
			type truth struct {
				Decrypted *bool
				Requests  json.RawMessage
				Protocol  string
				Note      string
			}
			var want struct{ Conns map[string]truth }
			if err := json.Unmarshal(shared(t, "protocols", name+".json"), &want); err != nil {
				t.Fatal(err)
			}
			s := NewDecryption(storeOf(t, shared(t, "protocols", name+".keys")), 0)
			for _, c := range connections(t, "protocols", name+".pcap") {
				w, ok := want.Conns[fmt.Sprintf("%d-%d", c.client, c.server)]
				chunks, before := inside(c.chunks)
				if !ok || w.Decrypted == nil && !strings.Contains(name, "connect") || len(chunks) == 0 {
					continue
				}
				p := decrypt(t, s, chunks, 0)
				decrypted := p.state[1] == Decrypted
				if w.Decrypted != nil && decrypted != *w.Decrypted {
					t.Errorf("%d: decrypted=%t (%v): %v", c.client, decrypted, p.state, p.events)
				}
				if !decrypted || len(w.Requests) == 0 {
					continue
				}
				if got := fmt.Sprint(requests(t, p.text[Client]) + before); got != string(w.Requests) {
					t.Errorf("%d: %s requests, want %s; %v\n%q", c.client, got, w.Requests, p.events, p.text[Client][:min(300, len(p.text[Client]))])
				}
			}
			t.Logf("%+v", s.Stats)
		})
	}
}

// inside returns the chunks of a connection from its ClientHello on, and how many requests came
// before it: CONNECT, and the PROXY protocol's header, which is none.
func inside(chunks []chunk) ([]chunk, int) {
	if len(chunks) == 0 || IsApplicationData(chunks[0].b) {
		return nil, 0
	}
	n := 0
	for i, c := range chunks {
		if c.dir != Client {
			continue
		}
		if rest, ok := bytes.CutPrefix(c.b, []byte("PROXY ")); ok {
			_, rest, _ = bytes.Cut(rest, []byte("\r\n"))
			c.b = rest
		}
		if IsClientHello(c.b) {
			return append([]chunk{c}, chunks[i+1:]...), n
		}
		if bytes.HasPrefix(c.b, []byte("CONNECT")) {
			n++
		}
	}
	return nil, 0
}

// TestCapturesWithKeys reads captures that others made, whose keys are published.
func TestCapturesWithKeys(t *testing.T) {
	tests := []struct {
		file, keys string
		requests   []int // of each connection
		responses  int   // of HTTP/1, of all
	}{
		{"scapy__tls_nss_example.pcap", "scapy-tls_nss_example.keys", []int{1, 1}, 2},
		{"wireshark__http2-data-reassembly.pcap", "http2-data-reassembly.keys", []int{1}, 0},
		{"zeek__tls-1.2-stream-keylog.pcap", "zeek-tls-1.2-stream-keylog.keys", []int{16}, 16},
		{"zeek__tls12-decryption.pcap", "zeek-tls12-decryption.keys", []int{1}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			s := NewDecryption(storeOf(t, shared(t, filepath.Join("captures", "keys"), tt.keys)), 0)
			responses := 0
			var got []int
			for _, c := range connections(t, "captures", tt.file) {
				p := decrypt(t, s, c.chunks, 0)
				got = append(got, requests(t, p.text[Client]))
				responses += messages(p.text[Server], http1.Response)
			}
			if diff := cmp.Diff(tt.requests, got); diff != "" || responses != tt.responses {
				t.Errorf("%d responses, want %d; requests (-want +got):\n%s\n%+v", responses, tt.responses, diff, s.Stats)
			}
		})
	}
}

// TestSecretsBlocks takes the keys from the captures themselves.
func TestSecretsBlocks(t *testing.T) {
	for _, tt := range []struct {
		dir, file string
		requests  []int
	}{{"protocols", "tls_dsb.pcapng", []int{4, 4}}, {"captures", "wireshark__tls12-dsb.pcapng", []int{1, 1}}} {
		t.Run(tt.file, func(t *testing.T) {
			shared(t, tt.dir, tt.file)
			store := keylog.New(0)
			p := keylog.NewParser(store)
			if err := capfile.ReadKeyLog(filepath.Join(sharedDir(), tt.dir, tt.file), p); err != nil {
				t.Fatal(err)
			}
			_ = p.Close()
			store.Seal()
			s := NewDecryption(store, 0)
			var got []int
			for _, c := range connections(t, tt.dir, tt.file) {
				got = append(got, requests(t, decrypt(t, s, c.chunks, 0).text[Client]))
			}
			if diff := cmp.Diff(tt.requests, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%+v", diff, s.Stats)
			}
		})
	}
}
