package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// A shipped is how a manifest runs Keepscope.
type shipped struct {
	env   []string
	limit size
}

// readShipped finds the container of Keepscope in a manifest.
func readShipped(t *testing.T, manifest string) (s shipped) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy/kubernetes", manifest))
	if err != nil {
		t.Fatal(err)
	}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		var c struct {
			Name string `yaml:"name"`
			Env  []struct {
				Name  string `yaml:"name"`
				Value string `yaml:"value"`
			} `yaml:"env"`
			Resources struct {
				Limits struct {
					Memory string `yaml:"memory"`
				} `yaml:"limits"`
			} `yaml:"resources"`
		}
		if n.Kind == yaml.MappingNode && n.Decode(&c) == nil && c.Name == "keepscope" && c.Resources.Limits.Memory != "" {
			if err := s.limit.UnmarshalText([]byte(c.Resources.Limits.Memory + "B")); err != nil {
				t.Fatal(err)
			}
			for _, e := range c.Env {
				if strings.HasPrefix(e.Name, "KEEPSCOPE_") && e.Value != "" {
					s.env = append(s.env, e.Name+"="+e.Value)
				}
			}
			return
		}
		for _, child := range n.Content {
			walk(child)
		}
	}
	documents := yaml.NewDecoder(strings.NewReader(string(text)))
	for {
		var n yaml.Node
		if documents.Decode(&n) != nil {
			break
		}
		walk(&n)
	}
	if s.limit == 0 {
		t.Fatalf("%s has no container of Keepscope with a memory limit", manifest)
	}
	s.env = append(s.env, fmt.Sprintf("KEEPSCOPE_MEMORY_LIMIT=%d", s.limit))
	return s
}

// A cgroup limits memory. Its file names are those of either version.
type cgroup struct{ dir, peak, events string }

// newCgroup makes one, or skips where that may not be.
func newCgroup(t *testing.T, limit size) cgroup {
	t.Helper()
	const root = "/sys/fs/cgroup"
	// Of version 2 the parent says what its children are limited in.
	tried := writeCgroup(root, "cgroup.subtree_control", "+memory")
	for _, parent := range []string{root, filepath.Join(root, "memory")} {
		dir := filepath.Join(parent, fmt.Sprintf("keepscope-test-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			tried = errors.Join(tried, err)
			continue
		}
		g, err := limitMemory(dir, limit)
		if err == nil {
			t.Cleanup(func() {
				eventually(t, 10*time.Second, func() error { return os.Remove(g.dir) }) // when its process is gone
			})
			return g
		}
		tried = errors.Join(tried, err, os.Remove(dir))
	}
	t.Skipf("no cgroup with a memory limit may be made: %v", tried)
	return cgroup{}
}

// limitMemory limits a cgroup of whichever version its files are.
func limitMemory(dir string, limit size) (cgroup, error) {
	var tried error
	for _, version := range []struct{ limit, peak, events string }{
		{"memory.max", "memory.peak", "memory.events"},
		{"memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"},
	} {
		err := writeCgroup(dir, version.limit, strconv.FormatInt(int64(limit), 10))
		if err == nil {
			_, err = os.Stat(filepath.Join(dir, version.peak)) // version 2 has it since Linux 5.19
		}
		if err == nil {
			return cgroup{dir, version.peak, version.events}, nil
		}
		tried = errors.Join(tried, err)
	}
	return cgroup{}, tried
}

// writeCgroup writes to a file that the kernel made: elsewhere there is none.
func writeCgroup(dir, name, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// TestCgroupVersions finds the files of both versions, of which a machine has one.
func TestCgroupVersions(t *testing.T) {
	for _, tt := range []struct {
		name         string
		files        map[string]string
		limit        string
		peak, events string
	}{
		{"2", map[string]string{"memory.max": "", "memory.peak": "4096\n", "memory.events": "oom 1\n"}, "memory.max", "4096", "oom 1"},
		{"1", map[string]string{"memory.limit_in_bytes": "", "memory.max_usage_in_bytes": "8192\n", "memory.oom_control": "oom_kill 1\n"}, "memory.limit_in_bytes", "8192", "oom_kill 1"},
		{"2 before Linux 5.19", map[string]string{"memory.max": "", "memory.events": ""}, "", "", ""},
		{"2 without the memory controller", map[string]string{"cgroup.procs": ""}, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			g, err := limitMemory(dir, 64<<20)
			if tt.limit == "" {
				if err == nil {
					t.Errorf("%+v", g)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if limit, peak, events := g.read(t, tt.limit), g.read(t, g.peak), g.read(t, g.events); limit != "67108864" || peak != tt.peak || events != tt.events {
				t.Errorf("limit %s, peak %s, events %s", limit, peak, events)
			}
		})
	}
}

func (g *cgroup) read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// crowd makes connections of clients that never were before, from the first on, each to
// one of 200 servers with long names or to as many others: open ones that carried a
// request, heads that do not end, segments that wait for others, HTTP/2 and TLS.
func crowd(t *testing.T, r *rand.Rand, first, n int) []sniffer.Frame {
	t.Helper()
	var s sniffertest.Script
	holes := int64(100)
	for i := first; i < first+n; i++ {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(1024+i%60000))
		server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(r.IntN(2)), byte(r.IntN(200))}), 80)
		c := s.Conn(client.String(), server.String(), sniffertest.ConnConfig{})
		host := fmt.Sprintf("%s-%d.example", strings.Repeat("n", 110), r.IntN(200))
		request := []byte("GET / HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: curl/8\r\n\r\n")
		switch i % 8 {
		case 0:
			c.Client(0, request[:30])
			c.Client(0, []byte("X: "+strings.Repeat("x", 1200)))
		case 1:
			c.Handshake(0, time.Millisecond)
			c.Send(sniffertest.Message{Payload: make([]byte, 1000), Seq: &holes})
		case 2:
			c.Client(0, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"+
				strings.Repeat("\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x84\x86", 30)))
		case 3:
			c.Client(0, []byte("\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"+strings.Repeat("\x17\x03\x03\x00\x00", 200)))
		default:
			c.Handshake(0, time.Millisecond)
			c.Client(0, request)
			c.Server(0, []byte("HTTP/1.1 200 OK\r\nServer: nginx\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok"))
		}
	}
	frames, err := s.Frames(sniffer.LinkRaw)
	if err != nil {
		t.Error(err)
	}
	return frames
}

// TestMemoryOfManifests runs Keepscope as sidecar and DaemonSet ship it, in a cgroup with
// their memory limit, while all its tables fill and five clients ask for all that the
// endpoint has: what the cgroup counts stays 15 % below the limit. The rings, which the
// kernel counts for nobody, have room beside that.
func TestMemoryOfManifests(t *testing.T) {
	const long = 20 * time.Second
	for _, manifest := range []string{"sidecar.yaml", "daemonset.yaml"} {
		t.Run(manifest, func(t *testing.T) {
			l := newLab(t, lab.Config{Sysctls: map[string]string{"net.ipv4.conf.all.rp_filter": "0"}})
			ships := readShipped(t, manifest)
			group := newCgroup(t, ships.limit)
			r := startRun(t, l, []string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, group.dir}, ships.env, "--user=root")
			ends := time.Now().Add(long)
			var askers sync.WaitGroup
			for i := range 5 {
				askers.Go(func() { askAll(t, l, i == 4, ends) })
			}
			forger, random, sent := newForger(t, l.Client, l.Server.Addrs[0]), rand.New(rand.NewPCG(1, 2)), 0
			const block = 4000
			for first := 0; time.Now().Before(ends); first += block {
				sent += forger.send(crowd(t, random, first, block))
			}
			askers.Wait()
			_, metrics, err := ask(t, inside(l.Server), "http://127.0.0.1:9737/metrics")
			if err != nil {
				t.Fatalf("%v: %s; %s", err, &r.said, group.read(t, group.events))
			}
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			kib := func(name string) (n int64) {
				n, _ = strconv.ParseInt(regexp.MustCompile(name + `:\s*(\d+)`).FindStringSubmatch(string(status))[1], 10, 64)
				return n
			}
			resident := kib("VmHWM") - kib("RssFile") // the kernel takes pages of files back where it needs them
			peak, err := strconv.ParseInt(group.read(t, group.peak), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d frames; of %d MiB at most %d in the cgroup and %d resident, rings included", sent, ships.limit>>20, peak>>20, resident>>10)
			evicted := regexp.MustCompile(`(?m)^keepscope_evicted_connections_total (.*)$`).FindStringSubmatch(metrics)
			if evicted == nil || evicted[1] == "0" {
				t.Skipf("this machine is too slow to fill the table of connections in %v", long)
			}
			if most := int64(0.85 * float64(ships.limit)); peak > most || resident<<10 > int64(ships.limit) {
				t.Errorf("more than 85 %% of %d MiB in the cgroup, or more than that resident", ships.limit>>20)
			}
			r.stop(t)
		})
	}
}

// askAll scrapes in every form until it ends; a hostile client asks for what is not there
// and makes each request another.
func askAll(t *testing.T, l *lab.Lab, hostile bool, ends time.Time) {
	client := inside(l.Server)
	for i := 0; time.Now().Before(ends); i++ {
		address := "http://127.0.0.1:9737" + []string{"/metrics", "/", "/metrics", "/?format=json"}[i%4]
		if hostile {
			address += fmt.Sprintf("&%d=%s", i, strings.Repeat("x", 2000))
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Accept", []string{"application/openmetrics-text;version=1.0.0", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "application/json", "text/plain"}[i%4])
		req.Header.Set("Accept-Encoding", []string{"gzip", "identity", "zstd"}[i%3])
		if hostile {
			req.Header.Set("Accept", fmt.Sprintf("text/%d", i))
		}
		resp, err := client.Do(req)
		if err != nil {
			continue // it may be shed
		}
		_ = resp.Body.Close()
	}
}
