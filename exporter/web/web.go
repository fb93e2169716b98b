// Package web serves what was counted as pages that keep themselves up to date: all of
// it (/), a server (/server/NAME) and a connection (/connection/ID), from a figure to
// the packets behind it, and each as JSON.
//
// A page is one answer: no other file, nothing from elsewhere. It works without scripts,
// by reloading itself; where scripts run, only what changed is replaced. What a visitor
// chose (time, filter, order, page) stands in the address. All text passes through
// html/template, and a content security policy forbids whatever a name that a client
// sent might try.
//
// # Caps
//
//	what                cap             when full
//	servers of a page   50              the others are on further pages
//	length of a filter  100 bytes       the rest is cut
//	reports made        one a second    further visitors get the same
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/story"
)

const (
	maxServers = 50
	maxAge     = time.Second
	// refreshSeconds is how often a visitor's page is renewed.
	refreshSeconds = 5
)

// A Source is where pages take their figures from.
type Source struct {
	// Latest says what was counted until now. It is asked at most once a second, and
	// never twice at once.
	Latest func() Latest
	// Mergeable is the report with what adding it to others takes.
	Mergeable func() (*report.Report, error)
	// Stories are the connections that can be drawn; none where they are not kept.
	Stories story.Stores
}

// Latest is what was counted until now.
type Latest struct {
	Report *report.Report
	// Grown says how much of it lately, and stays as it is; nil where that is not known.
	Grown *history.History
}

var (
	//go:embed *.html
	pageFiles embed.FS
	//go:embed page.css
	styleText string
	//go:embed page.js
	scriptText string

	// pages are parsed for the first of them: most commands show none.
	pages = sync.OnceValue(func() *template.Template {
		return template.Must(template.New("").Funcs(template.FuncMap{
			"count": count, "seconds": seconds, "percent": percent, "width": width, "plural": plural,
			"marked": marked, "tied": prose.KeepUnits,
			// Both are part of this program.
			"style":  func() template.CSS { return template.CSS(styleText) },
			"script": func() template.JS { return template.JS(scriptText) },
		}).ParseFS(pageFiles, "*.html"))
	})

	policy = "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
		"style-src '" + hashOf(styleText) + "' '" + hashOf(story.Style) + "'; script-src '" + hashOf(scriptText) + "'"
)

// hashOf is how a content security policy names the only text that may stand
// in an element.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// A Site serves the pages of a Source.
type Site struct {
	src Source
	mux *http.ServeMux

	mu   sync.Mutex
	seen *seen
}

// seen is the Latest with what is looked up in it.
type seen struct {
	Latest
	at      time.Time
	servers map[string]*report.Server
	stories []story.Entry
	drawn   map[string]bool        // ids of connections that can be
	lost    map[naming.Server]bool // servers of which there is one that was wasted or lost
}

// New returns the Site of a Source.
func New(src Source) *Site {
	s := &Site{src: src, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /{$}", s.front)
	s.mux.HandleFunc("GET /report.json", s.report)
	s.mux.HandleFunc("GET /server/{name}", s.server)
	s.mux.HandleFunc("GET /connection/{id}", s.connection)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// now returns what was counted, as of a second ago at most.
func (s *Site) now() *seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen != nil && time.Since(s.seen.at) < maxAge {
		return s.seen
	}
	s.seen = nil // what is made takes its room
	n := &seen{
		Latest: s.src.Latest(), at: time.Now(), servers: map[string]*report.Server{},
		stories: s.src.Stories.List(story.Query{}), drawn: map[string]bool{}, lost: map[naming.Server]bool{},
	}
	if n.Grown == nil {
		n.Grown = new(history.History)
	}
	for i := range n.Report.Servers {
		n.servers[n.Report.Servers[i].Name] = &n.Report.Servers[i]
	}
	for i := range n.stories {
		e := &n.stories[i]
		n.drawn[e.ID.String()] = true
		if e.Subject != "" {
			n.lost[e.Who] = true
		}
	}
	s.seen = n
	return n
}

// owner returns the server that a name stands for, nil for none.
func (n *seen) owner(who naming.Server) *report.Server {
	var rest *report.Server // of all beyond a cap
	for i := range n.Report.Servers {
		s := &n.Report.Servers[i]
		for _, m := range s.Members {
			if m == who {
				return s
			}
		}
		if len(s.Members) == 0 {
			rest = s
		}
	}
	return rest
}

// report answers with what 'keepscope read --output json' prints.
func (s *Site) report(w http.ResponseWriter, r *http.Request) {
	rep, err := s.src.Mergeable()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var out bytes.Buffer
	if err := rep.WriteJSON(&out); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, r, http.StatusOK, "application/json", out.Bytes())
}

// page answers with a page of a template.
func page(w http.ResponseWriter, r *http.Request, status int, name string, view any) {
	var out bytes.Buffer
	if err := pages().ExecuteTemplate(&out, name, view); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, r, status, "text/html; charset=utf-8", out.Bytes())
}

// answer writes an answer, compressed where that is understood.
func answer(w http.ResponseWriter, r *http.Request, status int, kind string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", kind)
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	header.Set("Vary", "Accept-Encoding")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(status)
		_, _ = w.Write(body) // whoever asked may have gone
		return
	}
	header.Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is one that there is
	_, _ = z.Write(body)                           // as above
	_ = z.Close()
}
