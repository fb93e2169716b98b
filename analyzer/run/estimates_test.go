package run

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
)

// figures are what connections add up to.
type figures struct {
	Requests, Reused, Wasted uint32
}

func (f *figures) Connection(c *fact.Connection) {
	f.Requests += c.Requests
	f.Reused += c.Reused
	if c.Verdict == fact.VerdictWasted {
		f.Wasted++
	}
}

// figuresOf reads a capture, with a key log or, where that is "", without.
func figuresOf(t *testing.T, capture, keys string) (f figures) {
	t.Helper()
	file, err := capfile.Open(capture)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the shared capture is not here: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var config analyzer.Config
	if keys != "" {
		log, err := os.ReadFile(keys)
		if err != nil {
			t.Fatal(err)
		}
		config.Keys = keylog.New(0)
		p := keylog.NewParser(config.Keys)
		if _, err := p.Write(log); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		config.Keys.Seal()
	}
	r := Reader{
		Source: file, Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{}),
		Workers: []*Worker{NewWorker(reassembly.Config{}, config, &f)},
	}
	if err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.Flush()
	return f
}

// TestEstimates holds what is estimated without keys against what the keys show. What
// package tls's documentation says of the quality of estimates rests on it.
func TestEstimates(t *testing.T) {
	exact := []string{ // HTTP/1.1, a request at a time
		"cases/keys_client_close.pcap.gz", "cases/keys_limit_five.pcap.gz", "cases/keys_tls12_full.pcap.gz",
		"protocols/tls12_aead.pcap", "protocols/tls12_cbc_etm.pcap", "protocols/tls12_cbc_mte.pcap",
		"protocols/tls12_resume_ticket.pcap", "protocols/tls13_early_data.pcap", "protocols/tls13_hello_retry.pcap",
		"protocols/tls13_key_update.pcap", "protocols/tls13_resume_psk.pcap", "protocols/tls13_suites.pcap",
		"protocols/tls_closings.pcap", "protocols/tls_loss_in_record.pcap",
		"captures/zeek__tls-1.2-stream-keylog.pcap", "captures/zeek__tls12-decryption.pcap", "captures/scapy__tls_nss_example.pcap",
	}
	type row struct {
		capture     string
		with, guess figures
	}
	rows := []row{
		{"cases/keys_pipelined.pcap.gz", figures{30, 29, 0}, figures{6, 5, 0}},
		{"protocols/tls_segmentation.pcap", figures{14, 12, 1}, figures{4, 2, 1}}, // pipelined, too
		{"cases/keys_h2_burst.pcap.gz", figures{100, 99, 0}, figures{}},
		{"cases/keys_h2_chromium.pcap.gz", figures{24, 23, 0}, figures{}},
		{"cases/keys_h2_pings.pcap.gz", figures{4, 3, 0}, figures{}},
		{"protocols/tls13_h2_nginx_curl.pcap", figures{20, 17, 2}, figures{}},
	}
	for _, capture := range exact {
		rows = append(rows, row{capture: capture})
	}
	for _, tt := range rows {
		t.Run(filepath.Base(tt.capture), func(t *testing.T) {
			path := filepath.Join(sharedDir(), tt.capture)
			with, guess := figuresOf(t, path, keysOf(path)), figuresOf(t, path, "")
			if tt.with == (figures{}) {
				if with.Requests == 0 {
					t.Error("no request was decrypted")
				}
				tt.with, tt.guess = with, with
			}
			if d := cmp.Diff([]figures{tt.with, tt.guess}, []figures{with, guess}); d != "" {
				t.Errorf("with keys and without (-want +got):\n%s", d)
			}
		})
	}
}

// keysOf returns the key log of a shared capture.
func keysOf(capture string) string {
	name, _, _ := strings.Cut(filepath.Base(capture), ".pcap")
	dir := filepath.Dir(capture)
	if filepath.Base(dir) == "captures" {
		dir, name = filepath.Join(dir, "keys"), strings.Replace(name, "__", "-", 1)
	}
	return filepath.Join(dir, name+".keys")
}

// sharedDir is the folder of the shared captures, beside the repository or beside that
// which KEEPSCOPE_CAPTURES names.
func sharedDir() string {
	if dir := os.Getenv("KEEPSCOPE_CAPTURES"); dir != "" {
		return filepath.Dir(filepath.Clean(dir))
	}
	return "../../../shared"
}
