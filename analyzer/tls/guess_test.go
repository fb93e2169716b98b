package tls

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/analyzer/tls/protection"
)

// TestLooksHTTP2 measures the guess on every capture of TLS 1.3 at hand. What was chosen is
// known from keys, and else from what the clients of a capture can do. The fallback, for when
// EncryptedExtensions does not tell, is measured apart, on all of them, as if h2 had
// been offered.
func TestLooksHTTP2(t *testing.T) {
	known := map[string]bool{ // without keys: h2 or not
		"cases/tls_h2_unary.pcap.gz": true, "captures/nDPI__http_connect.pcap": true, "cases/tls_alpn_h2.pcap.gz": true,
	}
	var rule, fallback struct{ right, missed, wrong int }
	for _, dir := range []string{"protocols", "cases", "captures"} {
		files, _ := filepath.Glob(filepath.Join(sharedDir(), dir, "*.pcap*"))
		for _, file := range files {
			name := filepath.Base(file)
			if strings.Contains(name, "syn-synack") || dir == "captures" && !strings.Contains(name, "tls") && !known[dir+"/"+name] {
				continue
			}
			for _, c := range connections(t, dir, name) {
				chunks, _ := inside(c.chunks)
				if len(chunks) == 0 {
					continue
				}
				o := observed(chunks)
				if o.version != VersionTLS13 || o.state&clientData == 0 {
					continue
				}
				h2 := known[dir+"/"+name] || strings.Contains(name, "_h2_") ||
					name == "proxy_v1.pcap" && o.state&beganHTTP2 != 0 // HAProxy's second kind of connection
				for _, g := range []struct {
					n     *struct{ right, missed, wrong int }
					guess bool
				}{{&rule, o.LooksHTTP2()}, {&fallback, o.state&wentOn != 0}} {
					switch {
					case g.guess == h2:
						g.n.right++
					case h2:
						g.n.missed++
					default:
						g.n.wrong++
						t.Logf("%s/%s %d", dir, name, c.client)
					}
				}
			}
		}
	}
	if rule.right == 0 {
		t.Skip("captures are absent")
	}
	t.Logf("rule %+v, fallback alone %+v", rule, fallback)
	if rule.wrong+rule.missed+fallback.wrong > 0 {
		t.Error("the documentation says better")
	}
}

func observed(chunks []chunk) *Observer {
	o := &Observer{}
	var i Info
	for _, ch := range chunks {
		for b, e := ch.b, Alert; e != NeedMore; {
			var n int
			n, e = o.Next(ch.dir, b, &i)
			b = b[n:]
		}
	}
	return o
}

// TestShortHeaders holds that a request whose HEADERS is as long as other frames is known by
// its answer. Lengths are of contents, the server's negative.
func TestShortHeaders(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes []int
		asked bool
	}{
		{"curl, a short name", []int{64, 35, -9, 9, -69}, true},
		{"nothing after SETTINGS", []int{64, -40, 9, -9}, false},
		{"SETTINGS alone, and session tickets", []int{64, -218, -218, -40, 9}, false},
		{"pings, and GOAWAY", []int{64, -40, 9, 17, -17, 17, -17, -34}, false},
		{"an acknowledgement with WINDOW_UPDATE", []int{64, -40, 22, -9}, false},
		{"a long name", []int{64, 60}, true},
	} {
		o := &Observer{state: isHTTP2, version: VersionTLS12, suite: 0xc02f}
		overhead := protection.SuiteOf(o.suite, o.version).Overhead(o.version)
		asked := false
		for _, n := range c.sizes {
			var i Info
			dir := Client
			if n < 0 {
				dir, n = Server, -n
			}
			o.measure(dir, uint16(n+overhead), &i)
			asked = asked || i.Request
		}
		if asked != c.asked {
			t.Errorf("%s: asked %v", c.name, asked)
		}
	}
}
