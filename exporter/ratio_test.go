package exporter

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// nothing is an observer that counts nothing.
type nothing struct{}

func (nothing) Connection(*fact.Connection) {}

// conversation writes a capture file and returns its path. It is small requests only, of which metrics cost the largest share:
// connections with 10 requests each, to 10 servers by name.
func conversation(b *testing.B, connections int) string {
	b.Helper()
	var script []byte
	for i := range connections {
		name := fmt.Sprintf("c%d", i)
		script = fmt.Appendf(script, "conn %s 10.0.0.1:%d 10.1.0.%d:80\n@+100us %s handshake rtt=200us\n", name, 1024+i%60000, i%10, name)
		for range 10 {
			script = fmt.Appendf(script, "@+1ms %s > \"GET /index.html HTTP/1.1\\r\\nHost: host-%d.example\\r\\nUser-Agent: bench\\r\\nAccept: */*\\r\\n\\r\\n\"\n", name, i%10)
			script = fmt.Appendf(script, "@+1ms %s < \"HTTP/1.1 200 OK\\r\\nServer: bench\\r\\nContent-Type: text/plain\\r\\nContent-Length: 1000\\r\\n\\r\\n\" \"x\"*1000\n%s > ack\n", name, name)
		}
		script = fmt.Appendf(script, "@+1ms %s > close\n", name)
	}
	path := filepath.Join(b.TempDir(), "capture.pcap")
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if err := sniffertest.MustParse(string(script)).WritePCAP(file, sniffer.LinkEthernet, sniffertest.FileOptions{}); err != nil {
		b.Fatal(err)
	}
	return path
}

// replay analyses a file and returns the CPU time that it took.
func replay(b *testing.B, path string, cfg analyzer.Config, o fact.Observer) time.Duration {
	b.Helper()
	file, err := capfile.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	r := run.Reader{
		Source: file, Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true}),
		Workers: []*run.Worker{run.NewWorker(reassembly.Config{}, cfg, o)},
	}
	runtime.GC() // what was left by others is not to be paid for here
	before := cpu()
	if err := r.Run(context.Background()); err != nil {
		b.Fatal(err)
	}
	r.Flush()
	return cpu() - before
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCostOfMetrics tells what a Recorder costs, over no observer at all.
func BenchmarkCostOfMetrics(b *testing.B) {
	costOf(b, func(path string, with bool) time.Duration {
		var o fact.Observer = nothing{}
		if with {
			_, o = attached(Config{}, tally.Config{})
		}
		return replay(b, path, analyzer.Config{}, o)
	})
}

// BenchmarkCostOfVerdicts tells what the ideal pool costs where a file is read
// for a report.
func BenchmarkCostOfVerdicts(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // which keepscope read sets, too
	costOf(b, func(path string, with bool) time.Duration {
		return replay(b, path, analyzer.Config{NoVerdicts: !with}, tally.New(tally.Config{}).Worker(nil))
	})
}

// costOf replays the same file with and without something by turns and tells the
// median of the ratios of their CPU times. KEEPSCOPE_PCAP names another file
// than small requests back to back, which are the worst.
func costOf(b *testing.B, replay func(path string, with bool) time.Duration) {
	path := os.Getenv("KEEPSCOPE_PCAP")
	if path == "" {
		path = conversation(b, 20_000)
	}
	var ratios []float64
	for i := 0; b.Loop(); i++ {
		var cost [2]time.Duration
		for turn := range 2 {
			which := (i + turn) % 2 // who goes second finds warmer caches
			cost[which] = replay(path, which == 1)
		}
		ratios = append(ratios, float64(cost[1])/float64(cost[0]))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
}
