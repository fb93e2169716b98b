package exporter

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// nothing is an observer that counts nothing.
type nothing struct{}

func (nothing) Exchange(*analyzer.Exchange)     {}
func (nothing) Connection(*analyzer.Connection) {}

// conversation is small requests only, of which metrics cost the largest share:
// connections with 10 requests each, to 10 servers by name.
func conversation(b *testing.B, connections int) []sniffer.Frame {
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
	frames, err := sniffertest.MustParse(string(script)).Frames(sniffer.LinkEthernet)
	if err != nil {
		b.Fatal(err)
	}
	return frames
}

// frameSource yields frames without copying them, for the copy is no part of
// what is measured.
type frameSource struct{ frames []sniffer.Frame }

func (s *frameSource) Read(b *sniffer.Batch) error {
	if len(s.frames) == 0 {
		return io.EOF
	}
	n := min(len(s.frames), sniffer.BatchFrames)
	b.Frames, s.frames = append(b.Frames[:0], s.frames[:n]...), s.frames[n:]
	return nil
}

// replay analyses the frames and returns the CPU time that it took.
func replay(b *testing.B, frames []sniffer.Frame, o analyzer.Observer) time.Duration {
	b.Helper()
	r := analyzer.Reader{
		Source: &frameSource{frames}, Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true}),
		Workers: []*analyzer.Worker{analyzer.NewWorker(reassembly.Config{}, analyzer.Config{}, o)},
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

// BenchmarkCostOfMetrics replays the same frames with and without a Recorder by
// turns and tells the median of the ratios of their CPU times.
func BenchmarkCostOfMetrics(b *testing.B) {
	frames := conversation(b, 10_000)
	var ratios []float64
	var cost [2]time.Duration
	for i := 0; b.Loop(); i++ {
		for turn := range 2 {
			var o analyzer.Observer = nothing{}
			which := (i + turn) % 2 // who goes second finds warmer caches
			if which == 1 {
				_, o = attached(Config{})
			}
			cost[which] = replay(b, frames, o)
		}
		ratios = append(ratios, float64(cost[1])/float64(cost[0]))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(float64(len(frames)), "frames")
}
