package main

import (
	"bytes"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The bounds of pages.
const (
	pageAge     = 100 * time.Millisecond // for which a page is given to further scrapers
	maxPages    = 8                      // forms of it that are kept; beyond, all are made anew
	maxPageWant = 1 << 10                // bytes of what a request says about form; beyond, none is kept
)

// pages answers scrapers that come at once with one page, made by one goroutine
// at a time, so that they leave the processors to the capture. A page is
// complete before any of it is sent: a scraper that reads slowly holds its page
// and nothing else.
type pages struct {
	handler http.Handler

	mu   sync.Mutex
	kept map[string]*madePage
}

// A madePage is an answer in memory. It is an http.ResponseWriter.
type madePage struct {
	at     time.Time
	header http.Header
	status int
	body   bytes.Buffer
}

func (p *madePage) Header() http.Header         { return p.header }
func (p *madePage) WriteHeader(status int)      { p.status = status }
func (p *madePage) Write(b []byte) (int, error) { return p.body.Write(b) }

// ServeHTTP implements http.Handler.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page := p.page(r)
	maps.Copy(w.Header(), page.header)
	w.WriteHeader(page.status)
	// Whoever asked may have gone.
	_, _ = w.Write(page.body.Bytes())
}

func (p *pages) page(r *http.Request) *madePage {
	want := strings.Join([]string{
		r.Method, r.URL.RawQuery, strings.Join(r.Header["Accept"], ","), strings.Join(r.Header["Accept-Encoding"], ","),
	}, "\n")
	p.mu.Lock()
	defer p.mu.Unlock()
	if page := p.kept[want]; page != nil && time.Since(page.at) < pageAge {
		return page
	}
	page := &madePage{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(page, r)
	page.at = time.Now()
	if len(want) > maxPageWant {
		return page
	}
	if len(p.kept) >= maxPages || p.kept == nil {
		p.kept = map[string]*madePage{}
	}
	p.kept[want] = page
	return page
}
