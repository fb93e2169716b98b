package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// TestLab sends requests to nginx through the veth under capture, and compares
// what the client did with what the log says.
func TestLab(t *testing.T) {
	if err := lab.Check(t.Context(), "nginx", "tcpdump", "sysctl"); err != nil {
		t.Skip(err)
	}
	for _, ipv6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("ipv6=%v", ipv6), func(t *testing.T) {
			t.Parallel()
			testLab(t, lab.Config{IPv6: ipv6, ClientAddrs: 2})
		})
	}
}

func testLab(t *testing.T, config lab.Config) {
	l, err := lab.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, "lab", l.Close)
	nginx, err := l.NewNginx(t.Context(), lab.NginxConfig{
		Servers: `server { listen {{.Addr}}:8080; root {{.Root}}; }`,
		Files:   map[string][]byte{"page.html": []byte("hello")},
	})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, "nginx", nginx.Stop)
	file := filepath.Join(t.TempDir(), "lab.pcap")
	capture, err := l.Server.Capture(t.Context(), file, lab.CaptureConfig{Ring: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	get(t, l, 3)
	accepted, err := nginx.AllAccepted(t.Context())
	if err != nil || accepted != 1 {
		t.Errorf("AllAccepted() = %d, %v; want 1", accepted, err)
	}
	if err := nginx.Stop(); err != nil {
		t.Error(err)
	}
	// SYN, SYN-ACK and ACK, three requests and responses, and the closing.
	if packets, err := capture.Stop(); err != nil || packets < 11 {
		t.Errorf("captured %d packets, %v; want at least 11", packets, err)
	}
	logged, err := lab.ReadLog(nginx.Log)
	if err != nil || len(logged) != 1 || logged[0].Requests != 3 || logged[0].Tuple.ServerPort != 8080 {
		t.Errorf("ReadLog() = %v, %v; want three requests on one connection", logged, err)
	}
}

// get asks n times over one connection.
func get(t *testing.T, l *lab.Lab, n int) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: l.Client.DialContext}}
	defer client.CloseIdleConnections()
	for range n {
		resp, err := client.Get(l.URL(8080, "/page.html"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "hello" {
			t.Errorf("body %q, %v", body, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func closing(t *testing.T, what string, f func() error) {
	t.Cleanup(func() {
		if err := f(); err != nil {
			t.Errorf("close %s: %v", what, err)
		}
	})
}

func TestListen(t *testing.T) {
	if err := lab.Check(t.Context(), "sysctl"); err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.Context(), lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, "lab", l.Close)
	listener, err := l.Server.Listen(t.Context(), "tcp", l.Server.Addrs[0].String()+":8080")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello") // the client finds what is missing
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	get(t, l, 2)
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func TestNewFails(t *testing.T) {
	if err := lab.Check(t.Context(), "sysctl", "nginx"); err != nil {
		t.Skip(err)
	}
	if _, err := lab.New(t.Context(), lab.Config{ClientAddrs: 1000}); err == nil {
		t.Error("New with 1000 client addresses: no error")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lab.New(cancelled, lab.Config{}); err == nil {
		t.Error("New with a cancelled context: no error")
	}
	l, err := lab.New(t.Context(), lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.NewNginx(t.Context(), lab.NginxConfig{Servers: "nonsense"}); err == nil {
		t.Error("NewNginx with a bad configuration: no error")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(l.Dir); !os.IsNotExist(err) {
		t.Errorf("%s remains: %v", l.Dir, err)
	}
}
