package endpoint

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPagesAreShared counts how often a page is made.
func TestPagesAreShared(t *testing.T) {
	var made atomic.Int32
	p := &pages{offer: metricsOffer, age: pageAge, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.RawQuery) > 0 || len(r.Header) != 2 {
			t.Errorf("what a client sends goes on: %v", r)
		}
		w.Header().Set("Content-Type", "a/b")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, made.Add(1))
	})}
	ask := func(accept string, more ...string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics?a="+strings.Join(more, "&"), nil)
		r.Header.Set("Accept", accept)
		for _, m := range more {
			r.Header.Set("X-More", m)
			r.Header.Set("Accept-Encoding", m)
		}
		p.ServeHTTP(w, r)
		return w
	}
	for range 50 {
		if w := ask("a"); w.Code != http.StatusTeapot || w.Header().Get("Content-Type") != "a/b" || w.Body.Len() == 0 {
			t.Fatal(w.Code, w.Header(), w.Body)
		}
	}
	if n := made.Load(); n > 5 { // it is renewed ten times a second
		t.Errorf("%d pages for 50 requests at once", n)
	}
	if a, b := ask("text/plain").Body.String(), ask("application/openmetrics-text;version=1.0.0").Body.String(); a == b {
		t.Error("another form is the same page")
	}
	before := made.Load()
	for i := range 1000 {
		ask(fmt.Sprint("form/", i), fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	if n := made.Load() - before; n > 100 || len(p.kept) > maxPages {
		t.Errorf("%d pages made for one form, %d kept", n, len(p.kept))
	}
}

// TestSiteIsBounded asks for pages that differ, in what makes a difference and in what
// does not.
func TestSiteIsBounded(t *testing.T) {
	var made atomic.Int32
	p := &pages{offer: siteOffer, age: time.Hour, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made.Add(1)
		fmt.Fprint(w, r.URL)
	})}
	ask := func(address string) string {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, address, nil)
		r.Header.Set("X-More", address)
		p.ServeHTTP(w, r)
		return w.Body.String()
	}
	for i := range 100 {
		if got := ask(fmt.Sprintf("/?window=5m&x=%d#%d", i, i)); got != "/?window=5m" {
			t.Fatal(got)
		}
	}
	if n := made.Load(); n != 1 {
		t.Errorf("%d pages for one address", n)
	}
	for i := range 1000 {
		path := fmt.Sprintf("/server/s%d?filter=f%d", i%10, i)
		if got := ask(path); got != path || len(p.kept) > maxPages {
			t.Fatalf("%s, %d kept", got, len(p.kept))
		}
	}
}

// A held is a client that reads nothing until it is cut off.
type held struct {
	http.ResponseWriter
	in, cut chan struct{}
}

func (h *held) Write([]byte) (int, error) {
	close(h.in)
	<-h.cut
	return 0, os.ErrDeadlineExceeded
}

func (h *held) SetWriteDeadline(time.Time) error {
	close(h.cut)
	return nil
}

// TestPagesAreFew has many clients that never read, each at another time: no more
// pages are held than there may be, and others still get a new one.
func TestPagesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pages{offer: metricsOffer, age: pageAge, handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, time.Now().UnixNano()) })}
		var clients []*held
		for range 10 * maxPages {
			h := &held{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
			clients = append(clients, h)
			go p.ServeHTTP(h, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			<-h.in
			if len(p.kept) > maxPages {
				t.Fatalf("%d pages are kept", len(p.kept))
			}
			time.Sleep(time.Second)
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		at, err := strconv.ParseInt(w.Body.String(), 10, 64)
		if age := time.Since(time.Unix(0, at)); err != nil || age > pageAgeMax {
			t.Errorf("a page of %v ago (%v)", age, err)
		}
		for _, h := range clients {
			select {
			case <-h.cut:
			default:
				close(h.cut)
			}
		}
	})
}

func TestTakesGzip(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "gzip": true, "identity": false, "deflate, gzip;q=1.0, *;q=0.5": true, "gzip;q=0": false,
		"gzip; q=0.0": false, "gzip;q=0.1": true, "xgzip": false, "br,gzip": true,
	} {
		if got := takesGzip(http.Header{"Accept-Encoding": {text}}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
