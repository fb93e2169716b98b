package endpoint

import (
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/keepscope/keepscope/exporter/web"
)

// The bounds of pages.
const (
	pageAge    = 100 * time.Millisecond // for which metrics are given to further scrapers
	siteAge    = time.Second            // the same for pages that people read
	pageAgeMax = 5 * time.Second        // the same while maxPages are being sent
	maxPages   = 6                      // in memory at once, compressed
)

// forms are the formats in which metrics are offered.
var forms = []expfmt.Format{
	expfmt.NewFormat(expfmt.TypeTextPlain), expfmt.NewFormat(expfmt.TypeProtoDelim),
	"application/openmetrics-text; version=1.0.0; charset=utf-8", "application/openmetrics-text; version=0.0.1; charset=utf-8",
}

// metricsOffer is a request for metrics in one of their forms.
func metricsOffer(r *http.Request) *http.Request {
	return offer(&url.URL{Path: "/metrics"}, string(expfmt.NegotiateAccept(r.Header, forms...)))
}

// siteOffer is a request for a page that people read.
func siteOffer(r *http.Request) *http.Request { return offer(web.Address(r.URL), "") }

// offer is a request with nothing else that a client sent.
func offer(address *url.URL, accept string) *http.Request {
	r := &http.Request{
		Method: http.MethodGet, URL: address, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Accept-Encoding": {"gzip"}},
	}
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	return r
}

// pages answers clients that come at once with one page, made by one goroutine
// at a time, so that they leave the processors to the capture. A page is made for what
// is offered, whatever else a request says. It is complete, and compressed, before any of it is sent: a scraper that reads slowly
// holds its page and nothing else. While all pages that there may be are held,
// others get the newest, for a while; then the one that was held for longest is
// taken from those that read it.
type pages struct {
	handler http.Handler
	offer   func(*http.Request) *http.Request
	age     time.Duration

	mu   sync.Mutex
	kept []*madePage // oldest first
}

// A madePage is an answer in memory. It is an http.ResponseWriter.
type madePage struct {
	of      string // the offer
	at      time.Time
	header  http.Header
	status  int
	body    bytes.Buffer
	senders map[*http.ResponseController]struct{} // under pages.mu
}

func (p *madePage) Header() http.Header         { return p.header }
func (p *madePage) WriteHeader(status int)      { p.status = status }
func (p *madePage) Write(b []byte) (int, error) { return p.body.Write(b) }

// ServeHTTP implements http.Handler.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	page := p.take(p.offer(r), control)
	defer p.release(page, control)
	maps.Copy(w.Header(), page.header)
	var body io.Reader = bytes.NewReader(page.body.Bytes())
	if page.header.Get("Content-Encoding") == "gzip" && !takesGzip(r.Header) {
		w.Header().Del("Content-Encoding")
		plain, err := gzip.NewReader(body)
		if err != nil { // it was written here
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		body = plain
	}
	w.WriteHeader(page.status)
	if r.Method != http.MethodHead {
		_, _ = io.Copy(w, body) // whoever asked may have gone
	}
}

// takesGzip says whether a client takes compressed answers.
func takesGzip(h http.Header) bool {
	for _, part := range strings.Split(strings.Join(h["Accept-Encoding"], ","), ",") {
		coding, weight, _ := strings.Cut(strings.ReplaceAll(part, " ", ""), ";")
		if coding == "gzip" {
			return !strings.HasPrefix(weight, "q=0") || strings.Trim(weight, "q=0.") != ""
		}
	}
	return false
}

// take returns a page that is sent until it is released.
func (p *pages) take(r *http.Request, control *http.ResponseController) *madePage {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := r.URL.String() + " " + r.Header.Get("Accept")
	page := p.newest(of, p.age)
	if page == nil && !p.makeRoom() {
		if page = p.newest(of, pageAgeMax); page == nil {
			p.cut()
		}
	}
	if page == nil {
		page = p.render(of, r)
		p.kept = append(p.kept, page)
	}
	page.senders[control] = struct{}{}
	return page
}

// newest returns a page that is no older than age.
func (p *pages) newest(of string, age time.Duration) *madePage {
	for _, page := range slices.Backward(p.kept) {
		if page.of == of && time.Since(page.at) < age {
			return page
		}
	}
	return nil
}

// makeRoom forgets pages that nobody reads, until there is room for one.
func (p *pages) makeRoom() bool {
	for i := 0; i < len(p.kept) && len(p.kept) >= maxPages; {
		if len(p.kept[i].senders) > 0 {
			i++
			continue
		}
		p.kept = slices.Delete(p.kept, i, i+1)
	}
	return len(p.kept) < maxPages
}

// cut takes the oldest page from those that have not read it yet.
func (p *pages) cut() {
	for control := range p.kept[0].senders {
		_ = control.SetWriteDeadline(time.Now()) // or the server's own deadline ends it
	}
	p.kept = slices.Delete(p.kept, 0, 1)
}

// render makes a page.
func (p *pages) render(of string, r *http.Request) *madePage {
	page := &madePage{of: of, header: http.Header{}, status: http.StatusOK, senders: map[*http.ResponseController]struct{}{}}
	p.handler.ServeHTTP(page, r)
	page.at = time.Now()
	return page
}

func (p *pages) release(page *madePage, control *http.ResponseController) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(page.senders, control)
}
