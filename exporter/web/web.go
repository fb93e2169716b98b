// Package web serves the report as a page that keeps itself up to date: the
// headline, what to change, the servers, the causes of wasted handshakes, and
// what the capture missed.
//
// The page is one answer: no other file, nothing from elsewhere. It works
// without scripts, by reloading itself; where scripts run, only its content is
// replaced. All text passes through html/template, and a content security
// policy forbids whatever a name that a client sent might try.
//
// # Caps
//
//	what                cap             when full
//	servers shown       50              those that waste least are counted in one line
//	findings shown      20              the rest is counted in one line
//	reports made        one a second    further visitors get the same
package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"sync"
	"time"

	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
)

const (
	maxServers  = 50
	maxFindings = 20
	maxAge      = time.Second
	// refreshSeconds is how often a visitor's page is renewed.
	refreshSeconds = 5
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	styleText string
	//go:embed page.js
	scriptText string

	page = template.Must(template.New("page").Funcs(template.FuncMap{
		"count": count, "seconds": seconds, "percent": percent, "bytes": byteCount, "width": width, "plural": plural,
		"marked": marked, "tied": prose.KeepUnits,
	}).Parse(pageText))

	policy = "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"style-src '" + hashOf(styleText) + "'; script-src '" + hashOf(scriptText) + "'"
)

// hashOf is how a content security policy names the only text that may stand
// in an element.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Handler serves the page of what latest reports. It asks latest at most once
// a second, and never twice at once.
func Handler(latest func() *report.Report) http.Handler {
	return &handler{latest: latest}
}

type handler struct {
	latest func() *report.Report

	mu   sync.Mutex
	body []byte
	at   time.Time
	err  error
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	body, err := h.render()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	// Whoever asked may have gone.
	_, _ = w.Write(body)
}

func (h *handler) render() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.body != nil && time.Since(h.at) < maxAge {
		return h.body, h.err
	}
	var out bytes.Buffer
	h.err = page.Execute(&out, newView(h.latest()))
	h.body, h.at = out.Bytes(), time.Now()
	return h.body, h.err
}
