package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/sniffer/privileges/privilegestest"
)

// TestRunReadsKeyLogsThatComeLater has a sidecar that was started as root read a key
// log that an app makes when the sidecar is another user, and confined to its files.
// The native sidecar of Kubernetes starts before its app, so this is how it goes there.
func TestRunReadsKeyLogsThatComeLater(t *testing.T) {
	l := newLab(t, lab.Config{}, "curl")
	_, own, sticky, user := privilegestest.Dirs(t)
	keys, lines := filepath.Join(own, "keys"), filepath.Join(sticky, "log.ndjson") // apart: a file that is written opens its folder
	if err := os.Mkdir(keys, 0o755); err != nil {
		t.Fatal(err)
	}
	sidecar := startSidecar(t, l, "--keylog="+keys, "--log-connections="+lines)

	log, err := os.OpenFile(filepath.Join(keys, "app"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.Chown(user.UID, user.GID); err != nil {
		t.Fatal(err)
	}
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	app.TLS = &tls.Config{KeyLogWriter: log}
	app.Listener, err = l.Server.Listen(t.Context(), "tcp", net.JoinHostPort(l.Server.Addrs[0].String(), "8443"))
	if err != nil {
		t.Fatal(err)
	}
	app.StartTLS()
	defer app.Close()
	url := "https" + strings.TrimPrefix(l.URL(8443, "/"), "http")
	eventually(t, 20*time.Second, func() error { // the sidecar may not be there yet
		curl(t, l, "-sSk", "--http1.1", "-o", "/dev/null", url, "-o", "/dev/null", url)
		all := linesOf(t, lines)
		for _, line := range all {
			if strings.Contains(line, `"port":8443}`) && strings.Contains(line, `"requests":2,`) && strings.Contains(line, `"protocol":"http/1.1"`) {
				return nil
			}
		}
		return fmt.Errorf("none of %d connections was decrypted", len(all))
	})
	sidecar.stop(t)
}
