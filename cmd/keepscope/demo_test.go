package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/keepscope/demo"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/live"
	"github.com/keepscope/keepscope/sniffer/pcap"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// demoCauses are what the demo must show.
var demoCauses = []string{
	"client_abort", "client_close", "client_discard", "client_goaway", "client_idle", "http10_declined", "http10_not_requested", "no_length",
	"pool_miss", "race", "server_abort", "server_close", "server_discard", "server_error_close", "server_idle", "server_limit",
}

// checkDemo reads a demo's report in JSON.
func checkDemo(t *testing.T, text []byte) {
	t.Helper()
	var r struct {
		Capture struct {
			Files   []string
			Dropped map[string]int
		}
		Totals struct {
			Wasted struct {
				ByCause map[string]int `json:"by_cause"`
			} `json:"wasted_handshakes"`
			Reasons    map[string]int
			Decryption map[string]int
		}
		Servers []struct {
			Server        string
			Effectiveness *float64
		}
		Findings []struct{ Code string }
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	good := 0
	got := slices.Sorted(maps.Keys(r.Totals.Wasted.ByCause))
	for _, cause := range demoCauses {
		if r.Totals.Wasted.ByCause[cause] == 0 {
			t.Errorf("no handshake wasted by %s; there are %v", cause, got)
		}
	}
	if r.Totals.Reasons["never_used"] == 0 {
		t.Error("no connection was never used")
	}
	for _, s := range r.Servers {
		if strings.HasSuffix(s.Server, "good.demo") {
			good++
			if s.Effectiveness == nil || *s.Effectiveness < 0.95 {
				t.Errorf("the effectiveness of %s is %v", s.Server, s.Effectiveness)
			}
		}
	}
	if good != 5 {
		t.Errorf("%d servers have good clients", good)
	}
	if d := r.Totals.Decryption; d["decrypted"] == 0 || d["missing"]+d["mismatched"]+d["none"] > 0 {
		t.Errorf("TLS: %v", d)
	}
	if !slices.Contains(r.Findings, struct{ Code string }{"channel_per_call"}) {
		t.Errorf("no channel for each call: %v", r.Findings)
	}
	if len(r.Findings) < 10 {
		t.Errorf("%d findings, want one for each bad habit", len(r.Findings))
	}
}

// TestDemoReplay reports on the embedded capture.
func TestDemoReplay(t *testing.T) {
	if len(demoCapture) > 350_000 {
		t.Errorf("the embedded capture has %d bytes, want at most 350 000", len(demoCapture))
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"demo", "--replay", "--output=json"}, console{out: &out, err: &errs}); code != 0 {
		t.Fatalf("status %d: %s", code, &errs)
	}
	checkDemo(t, out.Bytes())
	out.Reset()
	if code := run(t.Context(), []string{"demo", "--replay"}, console{out: &out, err: &errs}); code != 0 {
		t.Fatalf("status %d: %s", code, &errs)
	}
	_, drawn, _ := strings.Cut(out.String(), "SOME CONNECTIONS OF THE DEMO")
	for _, part := range []string{"░ opening", "was not needed: ", "would have been enough", "Wireshark, tshark -Y:"} {
		if !strings.Contains(drawn, part) {
			t.Errorf("%q is not in what the report ends with: %s", part, drawn)
		}
	}
}

// TestDemoLive captures the demo on loopback, and without the right to says so.
func TestDemoLive(t *testing.T) {
	if testing.Short() {
		t.Skip("the demo takes seconds: not with -short")
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("capturing takes root here")
	}
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("captured", func(t *testing.T) {
		t.Parallel()
		text, err := exec.Command(path, "demo", "--output=json").Output()
		if err != nil {
			var exit *exec.ExitError
			errors.As(err, &exit)
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		checkDemo(t, text)
	})
	t.Run("served", func(t *testing.T) {
		t.Parallel()
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		l.Close()
		cmd := exec.CommandContext(t.Context(), path, "demo", "--serve", "--listen="+address)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Wait() }) // it was killed
		eventually(t, 20*time.Second, func() error {
			_, body, err := ask(t, http.DefaultClient, "http://"+address+"/report.json")
			if err != nil {
				return err
			}
			r, err := report.ReadJSON(strings.NewReader(body))
			if err != nil {
				return err
			}
			if r.Totals.Midstream > 0 {
				t.Fatalf("%d connections were opened before it captured", r.Totals.Midstream)
			}
			if r.Totals.Connections < 100 {
				return fmt.Errorf("%d connections", r.Totals.Connections)
			}
			return nil
		})
	})
	t.Run("replayed", func(t *testing.T) {
		t.Parallel()
		if _, err := exec.LookPath("setpriv"); err != nil {
			t.Skip("setpriv is not installed")
		}
		cmd := exec.Command("setpriv", "--reuid=65534", "--clear-groups", "--", path, "demo", "--output=json")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		text, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, &errs)
		}
		if !strings.Contains(errs.String(), "setcap") || !strings.Contains(errs.String(), "a capture of the same habits") {
			t.Errorf("it does not say that it replays: %s", &errs)
		}
		checkDemo(t, text)
	})
}

var updateDemo = flag.Bool("update-demo", false, "capture the demo anew, for those who may not capture")

// TestUpdateDemo captures the demo, and puts the secrets of its TLS before its packets.
func TestUpdateDemo(t *testing.T) {
	if !*updateDemo {
		t.Skip("only with -update-demo: it is another each time")
	}
	out, err := os.Create("demo.pcapng.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pack := exec.Command("zstd", "-19") // which is a sixth smaller than Go's best; later the right to start it is gone
	pack.Stdout = out
	in, err := pack.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := pack.Start(); err != nil {
		t.Fatal(err)
	}
	var keys bytes.Buffer
	scenario, err := demo.New(&keys)
	if err != nil {
		t.Fatal(err)
	}
	defer scenario.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	flags := liveFlags{Interface: []string{loopback()}, Filter: demoFilter(scenario.Ports()), Snaplen: pcap.DefaultSnaplen, BufferSize: 16 << 20}
	l, err := flags.openLive(ctx, live.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		scenario.Play(ctx, 5500*time.Millisecond)
		cancel()
	}()
	var frames []sniffer.Frame
	for b := (sniffer.Batch{}); l.Read(&b) == nil; {
		for _, f := range b.Frames {
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
	}
	var file bytes.Buffer
	if err := sniffertest.WritePCAPNG(&file, sniffer.LinkEthernet, frames, sniffertest.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	section := file.Next(int(binary.LittleEndian.Uint32(file.Bytes()[4:])))
	padded := (keys.Len() + 3) &^ 3
	var secrets []byte // a Decryption Secrets Block
	for _, v := range []int{10, 20 + padded, 0x544c534b, keys.Len()} {
		secrets = binary.LittleEndian.AppendUint32(secrets, uint32(v))
	}
	secrets = append(append(secrets, keys.Bytes()...), make([]byte, padded-keys.Len())...)
	secrets = binary.LittleEndian.AppendUint32(secrets, uint32(20+padded))
	_, err = in.Write(slices.Concat(section, secrets, file.Bytes()))
	if err := errors.Join(err, in.Close(), pack.Wait()); err != nil {
		t.Fatal(err)
	}
}
