package tls

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLooksHTTP2 measures the guess on every capture of TLS 1.3 whose keys tell what was
// chosen.
func TestLooksHTTP2(t *testing.T) {
	right, wrong, offered := 0, 0, 0
	for _, dir := range []string{"protocols", "cases"} {
		files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", dir, "*.keys"))
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".keys")
			capture := name + ".pcap"
			if dir == "cases" {
				capture += ".gz"
			}
			s := NewDecryption(storeOf(t, shared(t, dir, name+".keys")), 0)
			for _, c := range connections(t, dir, capture) {
				chunks, _ := inside(c.chunks)
				if len(chunks) == 0 {
					continue
				}
				p := &plaintext{}
				d := s.New(p, p)
				p.d = d
				for _, c := range chunks {
					d.Gap(c.dir, c.gap, 0)
					d.Data(c.dir, c.b, 0)
				}
				chosen := ""
				for _, e := range p.events {
					if name, ok := strings.CutPrefix(e, "alpn "); ok {
						chosen = name
					}
				}
				d.End(0)
				var o Observer
				var i Info
				for _, ch := range chunks {
					for b, e := ch.b, Alert; e != NeedMore; {
						var n int
						n, e = o.Next(ch.dir, b, &i)
						b = b[n:]
					}
				}
				if d.State() != Decrypted || o.version != VersionTLS13 || o.state&clientData == 0 {
					continue
				}
				if o.state&offersHTTP2 != 0 {
					offered++
				}
				if o.LooksHTTP2() == (chosen == "h2") {
					right++
				} else {
					wrong++
					t.Logf("%s %d: guessed %t, chosen %q", name, c.client, o.LooksHTTP2(), chosen)
				}
			}
		}
	}
	if right+wrong == 0 {
		t.Skip("captures are absent")
	}
	t.Logf("%d right, %d wrong; %d offered h2", right, wrong, offered)
	if wrong > 0 {
		t.Error("the documentation says that none is wrong")
	}
}
