package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The limits of the endpoint: what clients can hold for how long.
const (
	maxClients     = 64 // connections
	maxEachClient  = 32 // of one address, or of one /64
	maxStreams     = 8  // HTTP/2: requests at once on a connection
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 4 << 10
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	answerTimeout  = 60 * time.Second
	idleClients    = 2 * time.Minute // longer than any usual scrape interval, so that scrapers' connections live
)

// An Endpoint serves: on one listener all of it, on another, where there is one, health
// checks alone.
type Endpoint struct {
	clients *listener
	server  *http.Server
	web     *WebConfig
	health  *Endpoint // nil without
	log     *slog.Logger
	failed  chan error
}

// A Config says what an endpoint serves.
type Config struct {
	Listener net.Listener // of TCP
	Health   net.Listener // for health checks alone, without TLS and password; nil for none
	Web      *WebConfig   // nil for plain HTTP, open to all
	Metrics  prometheus.Gatherer
	Page     http.Handler
	Ready    func() error // nil while all is well
	Pprof    bool         // Serve profiles, too
	Created  bool         // lines that say since when counters count
	Log      *slog.Logger
}

// New returns an endpoint, which owns the listeners. Serve answers.
func New(cfg Config) *Endpoint {
	if cfg.Web == nil {
		cfg.Web = &WebConfig{now: &webSettings{}}
	}
	e := on(cfg.Listener, cfg.Web, cfg.Log)
	e.server.Handler = http.MaxBytesHandler(cfg.Web.guard(handler(cfg)), maxBodyBytes)
	if cfg.Health == nil {
		return e
	}
	e.health = on(cfg.Health, &WebConfig{now: &webSettings{}}, cfg.Log)
	mux := http.NewServeMux()
	healthChecks(mux, cfg.Ready)
	e.health.server.Handler = http.MaxBytesHandler(mux, maxBodyBytes)
	e.health.server.SetKeepAlivesEnabled(false)
	return e
}

// on returns an endpoint on a listener that has no handler yet.
func on(l net.Listener, web *WebConfig, log *slog.Logger) *Endpoint {
	c := newListener(l, maxClients, maxEachClient, log)
	return &Endpoint{
		clients: c,
		server: &http.Server{
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       requestTimeout,
			WriteTimeout:      answerTimeout,
			IdleTimeout:       idleClients,
			MaxHeaderBytes:    maxHeaderBytes,
			HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
			ConnState:         c.note,
			TLSConfig:         web.tlsConfig(),
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
		web:    web,
		log:    log,
		failed: make(chan error, 2), // one of each listener
	}
}

// Ports returns the TCP ports that it listens on.
func (e *Endpoint) Ports() []uint16 {
	list := []uint16{e.clients.Addr().(*net.TCPAddr).AddrPort().Port()}
	if e.health != nil {
		list = append(list, e.health.Ports()...)
	}
	return list
}

// Collectors returns the metrics of the endpoint itself.
func (e *Endpoint) Collectors() []prometheus.Collector {
	count := func(name, help string, of func(*listener) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 {
			n := of(e.clients)
			if e.health != nil {
				n += of(e.health.clients)
			}
			return float64(n)
		})
	}
	list := []prometheus.Collector{
		count("keepscope_endpoint_displaced_connections_total", "Connections to the endpoint that were closed to make room for others.",
			func(c *listener) uint64 { return c.displaced.Load() }),
		count("keepscope_endpoint_refused_connections_total", "Connections to the endpoint for which there was no room.",
			func(c *listener) uint64 { return c.refused.Load() }),
	}
	if e.web.path != "" {
		list = append(list, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keepscope_web_config_sound",
			Help: "1 while the web configuration file and its certificate can be read, 0 while those of before serve on.",
		}, func() float64 {
			if e.web.sound() {
				return 1
			}
			return 0
		}))
	}
	return list
}

// Serve answers in the background; what ends it before Stop comes from Failed.
func (e *Endpoint) Serve() {
	e.serveTo(e.failed)
	if e.health != nil {
		e.health.serveTo(e.failed)
	}
}

// Failed tells what ended an endpoint that serves.
func (e *Endpoint) Failed() <-chan error { return e.failed }

func (e *Endpoint) serveTo(failed chan<- error) {
	e.log.Info("listening", "address", e.clients.Addr().String(), "tls", e.server.TLSConfig != nil)
	go func() {
		var err error
		if e.server.TLSConfig != nil {
			err = e.server.ServeTLS(e.clients, "", "")
		} else {
			err = e.server.Serve(e.clients)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("endpoint: %w", err)
		}
	}()
}

// Stop lets answers under way finish until ctx is done.
func (e *Endpoint) Stop(ctx context.Context) {
	if e.health != nil {
		defer e.health.Stop(ctx)
	}
	if e.server.Shutdown(ctx) != nil {
		_ = e.server.Close() // whoever is still reading has had its time
	}
	_ = e.clients.Close() // for an endpoint that never served
}

// handler routes requests.
func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	site := &pages{handler: cfg.Page, offer: siteOffer, age: siteAge}
	for _, path := range []string{"/{$}", "/report.json", "/server/", "/connection/"} {
		mux.Handle("GET "+path, site)
	}
	mux.Handle("GET /metrics", &pages{offer: metricsOffer, age: pageAge, handler: promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{
		ErrorLog:                            slog.NewLogLogger(cfg.Log.Handler(), slog.LevelError),
		EnableOpenMetrics:                   true,
		EnableOpenMetricsTextCreatedSamples: cfg.Created,
		OfferedCompressions:                 []promhttp.Compression{promhttp.Gzip},
	})})
	healthChecks(mux, cfg.Ready)
	if cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// healthChecks answers whether the process is alive, and whether it captures.
func healthChecks(mux *http.ServeMux, ready func() error) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "capturing")
	})
}

// answer writes a line of plain text.
func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// Whoever asked may have gone.
	_, _ = io.WriteString(w, text+"\n")
}
