package endpoint

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestEndpointHeld has one address hold more connections than there may be, idle,
// silent or in the middle of a request: health checks and scrapes of others, and
// where it can be told apart of the same address, are answered.
func TestEndpointHeld(t *testing.T) {
	file, secure := secured(t, t.TempDir())
	plain := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	other := func(c *http.Client) *http.Client {
		transport := c.Transport.(*http.Transport).Clone()
		transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext
		return &http.Client{Timeout: c.Timeout, Transport: transport}
	}
	const asked = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name, webConfig, says string
		reads, same           bool
	}{
		{"idle", "", asked, true, true},
		{"silent", "", "", false, true},
		{"half a request", "", "GET /metrics HTT", false, false},
		{"a page unread", "", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", false, false},
		{"idle after one 401", file, asked, true, true},
		{"no TLS handshake", file, "", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := startEndpoint(t, Config{Web: configured(t, tt.webConfig), Health: freePort(t)})
			ports := e.Ports()
			for range 2 * maxClients {
				hold(t, ports[0], tt.webConfig != "", tt.says, tt.reads)
				hold(t, ports[1], false, strings.Replace(tt.says, "/metrics", "/healthz", 1), tt.reads)
			}
			client, base := plain, fmt.Sprintf("http://127.0.0.1:%d", ports[0])
			if tt.webConfig != "" {
				client, base = secure, fmt.Sprintf("https://prometheus:secret@127.0.0.1:%d", ports[0])
			}
			health := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
			all := []struct {
				client *http.Client
				url    string
			}{{other(client), base + "/healthz"}, {other(client), base + "/metrics"}, {other(plain), health + "/healthz"}, {other(plain), health + "/readyz"}}
			if tt.same {
				all = append(all, all...)
				for i := range 4 {
					all[i].client = client
				}
				all[2].client, all[3].client = plain, plain
			}
			for _, one := range all {
				if resp, _ := fetch(t, one.client, "GET", one.url, nil, nil); resp.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", one.url, resp.Status)
				}
			}
			if e.clients.displaced.Load()+e.clients.refused.Load() == 0 {
				t.Error("no connection is counted as closed or refused")
			}
		})
	}
}

// hold opens a connection, says something and keeps it to the end of the test.
func hold(t *testing.T, port uint16, secure bool, says string, reads bool) {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if secure && says != "" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	_, _ = io.WriteString(conn, says) // it may have been refused
	if reads {
		_, _ = bufio.NewReader(conn).ReadString('\n')
	}
}
