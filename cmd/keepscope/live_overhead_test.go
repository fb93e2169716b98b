package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/afpacket"
	"github.com/google/gopacket/layers"
	gopcap "github.com/google/gopacket/pcap"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/pcap"
)

// TestOverhead measures what capturing costs, and what it costs the traffic, for
// as many rounds as KEEPSCOPE_OVERHEAD says. In each round every capture sees
// each traffic once, in turn, so that other load falls on all alike; what counts
// is the ratio to tcpdump's cost in the same round.
func TestOverhead(t *testing.T) {
	rounds, err := strconv.Atoi("0" + testVariables["KEEPSCOPE_OVERHEAD"])
	if err != nil {
		t.Fatal(err)
	}
	if rounds < 1 {
		t.Skip("KEEPSCOPE_OVERHEAD says how many rounds to measure, e.g. 5")
	}
	// Closed connections take tens of thousands of ports a round.
	l := newLab(t, lab.Config{Sysctls: map[string]string{"net.ipv4.ip_local_port_range": "1024 65535"}}, "nginx", "wrk", "tcpdump", "sysctl")
	liveNginx(t, l, "")

	t.Run("ways in", func(t *testing.T) {
		contest(t, l, rounds, wireTraffics, []contender{
			{"tcpdump -w /dev/null", tcpdump},
			{"views of the ring", wayIn("batch")},
			{"gopacket/pcap", wayIn("gopacket/pcap")},
			{"gopacket/afpacket", wayIn("gopacket/afpacket")},
		})
	})
	t.Run("snaplen", func(t *testing.T) {
		contenders := []contender{{"tcpdump -w /dev/null", tcpdump}}
		for _, snaplen := range snaplens {
			contenders = append(contenders, contender{"watch --snaplen=" + snaplen, watchAt(snaplen)})
		}
		contest(t, l, rounds, append(wireTraffics, offloaded), contenders)
	})
	t.Run("run", func(t *testing.T) {
		got := contest(t, l, rounds, wireTraffics, []contender{
			{"tcpdump -w /dev/null", tcpdump},
			{"no capture", func(*testing.T, *lab.Lab) capturing { return capturing{stop: func() uint64 { return 0 }} }},
			{"keepscope run", sidecarCapture},
		})
		for _, traffic := range wireTraffics {
			holdOverhead(t, traffic, got[traffic.name]["tcpdump -w /dev/null"], got[traffic.name]["keepscope run"])
		}
	})
}

// holdOverhead holds the program to what it promises beside tcpdump.
func holdOverhead(t *testing.T, traffic traffic, yardstick, ours []sample) {
	t.Helper()
	limit := 2.0
	if traffic.bulk {
		limit = 1
		if dropped := sum(ours, func(s sample) float64 { return float64(s.dropped) }); dropped > 0 {
			t.Errorf("%s: %.0f packets dropped, want none", traffic.name, dropped)
		}
	}
	if r := spreadOf(len(ours), func(i int) float64 { return ours[i].cpu / yardstick[i].cpu }); r.median > limit {
		t.Errorf("%s: %.2f times tcpdump's CPU time, want at most %v", traffic.name, r.median, limit)
	}
	requests := func(s []sample) spread { return spreadOf(len(s), func(i int) float64 { return s[i].requests }) }
	if got, want := requests(ours), requests(yardstick); got.median < want.least {
		t.Errorf("%s: %.0f requests/s, with tcpdump at least %.0f", traffic.name, got.median, want.least)
	}
}

// A traffic is what wrk does for pressTime, as fast as it can.
type traffic struct {
	name    string
	port    int
	path    string
	bulk    bool
	offload bool // frames as segmentation offload makes them, as a host sees its own
}

var wireTraffics = []traffic{
	{name: "1 KB keep-alive", port: 8100, path: "/1k.html"},
	{name: "1 KB close", port: 8001, path: "/1k.html"},
	{name: "100 kB bodies", port: 8100, path: "/100k.html", bulk: true},
}

var offloaded = traffic{name: "100 kB bodies, offloads on", port: 8100, path: "/100k.html", bulk: true, offload: true}

const (
	pressTime = "3s"
	// settleTime is more than any of the captures holds packets back: libpcap in
	// tcpdump waits a second for a block to fill.
	settleTime = 1200 * time.Millisecond
	ringBytes  = 64 << 20
)

// A capturing is a capture at work; pid is 0 where there is none.
type capturing struct {
	pid  int
	stop func() (dropped uint64)
}

// A contender starts a capture of the server's interface.
type contender struct {
	name  string
	start func(*testing.T, *lab.Lab) capturing
}

// A sample is one capture of one traffic.
type sample struct {
	cpu      float64 // seconds of the process, a million packets on the wire
	requests float64 // a second
	packets  uint64  // on the wire
	dropped  uint64
}

// contest measures all contenders in turn, the first of them the yardstick, and
// returns the samples of each round by traffic and contender.
func contest(t *testing.T, l *lab.Lab, rounds int, traffics []traffic, contenders []contender) map[string]map[string][]sample {
	t.Helper()
	got := map[string]map[string][]sample{}
	for round := range rounds {
		for _, traffic := range traffics {
			if got[traffic.name] == nil {
				got[traffic.name] = map[string][]sample{}
			}
			for i := range contenders {
				c := contenders[(i+round)%len(contenders)]
				got[traffic.name][c.name] = append(got[traffic.name][c.name], measure(t, l, traffic, c))
			}
		}
	}
	for _, traffic := range traffics {
		yardstick := got[traffic.name][contenders[0].name]
		for _, c := range contenders {
			s := got[traffic.name][c.name]
			t.Logf("%-26s %-24s CPU s/Mpacket %v, ratio %v, requests/s %v, dropped %.2f %%", traffic.name, c.name,
				spreadOf(rounds, func(i int) float64 { return s[i].cpu }),
				spreadOf(rounds, func(i int) float64 { return s[i].cpu / yardstick[i].cpu }),
				spreadOf(rounds, func(i int) float64 { return s[i].requests }),
				100*sum(s, func(s sample) float64 { return float64(s.dropped) })/sum(s, func(s sample) float64 { return float64(s.packets) }))
		}
	}
	return got
}

func measure(t *testing.T, l *lab.Lab, traffic traffic, c contender) sample {
	t.Helper()
	offload(t, l, traffic.offload)
	capture := c.start(t, l)
	packets, used := wirePackets(t, l), cpuSeconds(t, capture.pid)
	requests := press(t, l, traffic)
	time.Sleep(settleTime)
	packets, used = wirePackets(t, l)-packets, cpuSeconds(t, capture.pid)-used
	return sample{cpu: used * 1e6 / float64(packets), requests: requests, packets: packets, dropped: capture.stop()}
}

// offload has the kernel cut segments in the pair's driver, as network cards do,
// or before it, as a wire would have them.
func offload(t *testing.T, l *lab.Lab, on bool) {
	t.Helper()
	state := map[bool]string{false: "off", true: "on"}[on]
	for _, n := range []*lab.Namespace{l.Client, l.Server} {
		if err := n.Run(t.Context(), "ethtool", "-K", n.Interface, "tx", state, "tso", state, "gso", state); err != nil {
			t.Fatal(err)
		}
	}
}

var requestRate = regexp.MustCompile(`Requests/sec: +([0-9.]+)`)

// press sends requests on 16 connections and returns how many were answered a
// second.
func press(t *testing.T, l *lab.Lab, traffic traffic) float64 {
	t.Helper()
	out, err := l.Client.Command(t.Context(), "wrk", "-t1", "-c16", "-d"+pressTime, l.URL(traffic.port, traffic.path)).Output()
	m := requestRate.FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("wrk: %v: %s", err, out)
	}
	rate, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return rate
}

// wirePackets is what has passed the server's interface, by its own count.
func wirePackets(t *testing.T, l *lab.Lab) (sum uint64) {
	t.Helper()
	dir := "/sys/class/net/" + l.Server.Interface + "/statistics/"
	out, err := l.Server.Command(t.Context(), "cat", dir+"rx_packets", dir+"tx_packets").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Fields(string(out)) {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// cpuSeconds is what a process has used, of all its threads; 0 for none.
func cpuSeconds(t *testing.T, pid int) float64 {
	t.Helper()
	if pid == 0 {
		return 0
	}
	// A process's clock, as clock_getcpuclockid(3) makes it.
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &used); err != nil {
		t.Fatal(err)
	}
	return float64(used.Nano()) / 1e9
}

// A spread is the middle of some values and their ends.
type spread struct{ least, median, most float64 }

func spreadOf(n int, value func(i int) float64) spread {
	values := make([]float64, n)
	for i := range values {
		values[i] = value(i)
	}
	slices.Sort(values)
	return spread{values[0], values[n/2], values[n-1]}
}

func (s spread) String() string { return fmt.Sprintf("%.4g (%.4g–%.4g)", s.median, s.least, s.most) }

func sum(samples []sample, value func(sample) float64) (sum float64) {
	for _, s := range samples {
		sum += value(s)
	}
	return sum
}

// dropCount finds a count of drops, 0 where nothing is said of any.
func dropCount(t *testing.T, text string, pattern *regexp.Regexp) (sum uint64) {
	t.Helper()
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(m[1], 64) // a metric may say 1e+06
		if err != nil {
			t.Fatal(err)
		}
		sum += uint64(n)
	}
	return sum
}

var (
	tcpdumpDrops = regexp.MustCompile(`(\d+) packets? dropped by kernel`)
	watchDrops   = regexp.MustCompile(`packets were dropped.* kernel=(\d+)`)
	metricDrops  = regexp.MustCompile(`(?m)^keepscope_capture_dropped_packets_total\{.*\} (\S+)$`)
)

// tcpdump is the yardstick, with a ring of the same size.
func tcpdump(t *testing.T, l *lab.Lab) capturing {
	t.Helper()
	cmd := l.Server.Command(context.WithoutCancel(t.Context()), "tcpdump", "-n", "-Z", "root", "-i", l.Server.Interface,
		"-B", strconv.Itoa(ringBytes>>10), "-w", "/dev/null", "tcp")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	lines := startAndAwait(t, cmd, said, "listening on")
	return capturing{cmd.Process.Pid, func() uint64 {
		end(t, cmd.Process, os.Interrupt)
		text := rest(t, lines)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("tcpdump: %v: %s", err, text)
		}
		return dropCount(t, text, tcpdumpDrops)
	}}
}

// startAndAwait starts a program and reads what it says up to a word.
func startAndAwait(t *testing.T, cmd *exec.Cmd, said io.Reader, word string) *bufio.Reader {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // where it still runs
	lines := bufio.NewReader(said)
	for {
		text, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
		if strings.Contains(text, word) {
			return lines
		}
	}
}

func end(t *testing.T, p *os.Process, signal os.Signal) {
	t.Helper()
	if err := p.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func rest(t *testing.T, r io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sidecarCapture is 'keepscope run', scraped once.
func sidecarCapture(t *testing.T, l *lab.Lab) capturing {
	t.Helper()
	r := startSidecar(t, l)
	return capturing{r.cmd.Process.Pid, func() uint64 {
		status, text, err := ask(t, inside(l.Server), "http://127.0.0.1:9737/metrics")
		if err != nil || status != http.StatusOK {
			t.Fatalf("metrics: %d, %v", status, err)
		}
		r.stop(t)
		return dropCount(t, text, metricDrops)
	}}
}

// snaplens are the default and two smaller ones.
var snaplens = []string{strconv.Itoa(pcap.DefaultSnaplen), "2048", "512"}

// watchAt is 'keepscope watch' with a snaplen, which prints a report.
func watchAt(snaplen string) func(*testing.T, *lab.Lab) capturing {
	return func(t *testing.T, l *lab.Lab) capturing {
		t.Helper()
		w := watch(t, l.Server, "-i", l.Server.Interface, "--snaplen="+snaplen, "--output=text")
		return capturing{w.cmd.Process.Pid, func() uint64 {
			end(t, w.cmd.Process, syscall.SIGINT)
			if err := <-w.done; err != nil {
				t.Fatalf("keepscope watch: %v: %s", err, &w.err)
			}
			return dropCount(t, w.err.String(), watchDrops)
		}}
	}
}

// wayInVariable tells the test program to be a way in: see TestWayIn.
const wayInVariable = "KEEPSCOPE_WAY_IN"

// wayIn starts this test program as a process that reads packets in one way.
func wayIn(name string) func(*testing.T, *lab.Lab) capturing {
	return func(t *testing.T, l *lab.Lab) capturing {
		t.Helper()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := l.Server.Command(context.WithoutCancel(t.Context()), self, "-test.run=^TestWayIn$")
		cmd.Env = append(cmd.Environ(), wayInVariable+"="+name+" "+l.Server.Interface)
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		lines := startAndAwait(t, cmd, out, "capturing")
		before := wirePackets(t, l)
		return capturing{cmd.Process.Pid, func() uint64 {
			passed := wirePackets(t, l) - before
			in.Close()
			text := rest(t, lines)
			var segments, dropped uint64
			if _, err := fmt.Sscanf(text, "%d segments, %d dropped", &segments, &dropped); err != nil {
				t.Fatalf("%s: %v: %s", name, err, text)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if float64(segments+dropped) < 0.99*float64(passed) {
				t.Errorf("%s: %d segments and %d drops, %d packets passed", name, segments, dropped, passed)
			}
			return dropped
		}}
	}
}

// TestWayIn is the process that a way in is measured in: it decodes every frame
// and does nothing more, until its standard input ends.
func TestWayIn(t *testing.T) {
	way, device, ok := strings.Cut(os.Getenv(wayInVariable), " ")
	if !ok {
		t.Skip("TestOverhead runs this in processes of its own")
	}
	open := map[string]func(*testing.T, string) packetReader{
		"batch": openBatches, "gopacket/pcap": openGopacket, "gopacket/afpacket": openRing,
	}[way]
	r := open(t, device)
	var ended atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends
		ended.Store(true)
	}()
	decoder := sniffer.NewDecoder(sniffer.DecoderConfig{})
	var segment sniffer.Segment
	fmt.Println("capturing")
	for !ended.Load() {
		r.read(func(f *sniffer.Frame) { decoder.Decode(f, &segment) })
	}
	fmt.Printf("%d segments, %d dropped\n", decoder.Stats().Segments, r.dropped())
}

// A packetReader is a way in. Its read returns after some packets, or after it
// waited in vain.
type packetReader struct {
	read    func(each func(*sniffer.Frame))
	dropped func() uint64
}

// openBatches reads as Keepscope does: batches that view the kernel's ring.
func openBatches(t *testing.T, device string) packetReader {
	src, err := pcap.Open(pcap.Config{Interfaces: []string{device}, Filter: "tcp", Buffer: ringBytes})
	if err != nil {
		t.Fatal(err)
	}
	var batch sniffer.Batch
	return packetReader{
		read: func(each func(*sniffer.Frame)) {
			if err := src.Read(&batch); err != nil {
				t.Fatal(err)
			}
			for i := range batch.Frames {
				each(&batch.Frames[i])
			}
		},
		dropped: func() uint64 {
			src.Close()
			return src.Drops(0).Kernel
		},
	}
}

const ringWait = 50 * time.Millisecond

// openGopacket reads with a call into C for each packet.
func openGopacket(t *testing.T, device string) packetReader {
	inactive, err := gopcap.NewInactiveHandle(device)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(inactive.SetSnapLen(pcap.DefaultSnaplen), inactive.SetTimeout(ringWait), inactive.SetBufferSize(ringBytes)); err != nil {
		t.Fatal(err)
	}
	h, err := inactive.Activate()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetBPFFilter("tcp"); err != nil {
		t.Fatal(err)
	}
	frame := sniffer.Frame{Link: sniffer.LinkEthernet}
	return packetReader{
		read: func(each func(*sniffer.Frame)) {
			data, info, err := h.ZeroCopyReadPacketData()
			if errors.Is(err, gopcap.NextErrorTimeoutExpired) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			frame.Data, frame.Length, frame.Time = data, uint32(info.Length), info.Timestamp.UnixNano()
			each(&frame)
		},
		dropped: func() uint64 {
			stats, err := h.Stats()
			if err != nil {
				t.Fatal(err)
			}
			return uint64(stats.PacketsDropped)
		},
	}
}

// openRing reads the kernel's ring of blocks (TPACKET_V3) in Go.
func openRing(t *testing.T, device string) packetReader {
	const block = 1 << 20
	h, err := afpacket.NewTPacket(afpacket.OptInterface(device), afpacket.TPacketVersion3, afpacket.OptBlockSize(block),
		afpacket.OptNumBlocks(ringBytes/block), afpacket.OptBlockTimeout(ringWait), afpacket.OptPollTimeout(2*ringWait))
	if err != nil {
		t.Fatal(err)
	}
	program, err := gopcap.CompileBPFFilter(layers.LinkTypeEthernet, pcap.DefaultSnaplen, "tcp")
	if err != nil {
		t.Fatal(err)
	}
	var raw []bpf.RawInstruction
	for _, i := range program {
		raw = append(raw, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	if err := h.SetBPF(raw); err != nil {
		t.Fatal(err)
	}
	frame := sniffer.Frame{Link: sniffer.LinkEthernet}
	return packetReader{
		read: func(each func(*sniffer.Frame)) {
			data, info, err := h.ZeroCopyReadPacketData()
			if errors.Is(err, afpacket.ErrTimeout) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			frame.Data, frame.Length, frame.Time = data, uint32(info.Length), info.Timestamp.UnixNano()
			each(&frame)
		},
		dropped: func() uint64 {
			_, stats, err := h.SocketStats()
			if err != nil {
				t.Fatal(err)
			}
			return uint64(stats.Drops())
		},
	}
}

// exactServer has a chunked answer that fills many segments.
const exactServer = `
	gzip_min_length 1;
	server { listen {{.Addr}}:8100; root {{.Root}}; keepalive_requests 100; location = /chunked.html { gzip on; } }
`

// TestOverheadExact says what a snaplen leaves exact, each kind of traffic on its
// own, with frames as segmentation offload makes them: the requests of each
// connection, held to nginx's log, and why reuse ended, to what whole frames say
// of the same traffic.
func TestOverheadExact(t *testing.T) {
	if testVariables["KEEPSCOPE_OVERHEAD"] == "" {
		t.Skip("KEEPSCOPE_OVERHEAD asks for measurements")
	}
	random := make([]byte, 100<<10) // what gzip makes no smaller
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	for _, kind := range []struct {
		name, path string
		pipeline   int
		headers    []string
		least      int // the snaplen from which on all must be exact
	}{
		{name: "1 KB keep-alive", path: "/1k.html", pipeline: 1, least: 512},
		{name: "1 KB close", path: "/1k.html", pipeline: 1, headers: []string{"Connection=close"}, least: 512},
		{name: "100 kB bodies", path: "/100k.html", pipeline: 1, least: 512},
		{name: "request headers of 1.5 kB", path: "/1k.html", pipeline: 1, headers: []string{"Cookie=" + strings.Repeat("c", 1400)}, least: 2048},
		{name: "pipelined by 4", path: "/1k.html", pipeline: 4, least: pcap.DefaultSnaplen},
		{name: "pipelined by 50", path: "/1k.html", pipeline: 50, least: pcap.DefaultSnaplen},
		{name: "chunked", path: "/chunked.html", pipeline: 1, headers: []string{"Accept-Encoding=gzip"}, least: pcap.DefaultSnaplen},
	} {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, lab.Config{}, "nginx", "wrk", "sysctl")
			offload(t, l, true)
			nginx, err := l.NewNginx(t.Context(), lab.NginxConfig{Servers: exactServer, Files: map[string][]byte{
				"1k.html": random[:1<<10], "100k.html": random, "chunked.html": random,
			}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = nginx.Stop() }) // what matters is told by logged
			var watchings []*watching
			for _, snaplen := range snaplens {
				watchings = append(watchings, watch(t, l.Server, "-i", l.Server.Interface, "--snaplen="+snaplen))
			}
			wrk(t, l, l.URL(8100, kind.path), 2000/kind.pipeline, kind.pipeline, kind.headers...)
			want := logged(t, nginx)
			var whole causesSeen
			for i, w := range watchings {
				lines := w.stop(t)
				got := causesOf(lines)
				if i == 0 {
					compareCounts(t, seen(lines), want)
					whole = got
					continue
				}
				diff := cmp.Diff(want, seen(lines)) + cmp.Diff(whole, got)
				_, requests := want.total()
				t.Logf("--snaplen=%s: exact %t, %d of %d requests, %v of %v", snaplens[i], diff == "", got.Requests, requests, got.Reasons, whole.Reasons)
				if n, err := strconv.Atoi(snaplens[i]); diff != "" && (err != nil || n >= kind.least) {
					t.Errorf("--snaplen=%s (-log or whole, +seen): %.1000s", snaplens[i], diff)
				}
			}
		})
	}
}
