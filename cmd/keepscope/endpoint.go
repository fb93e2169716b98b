package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"github.com/keepscope/keepscope/sniffer/privileges"
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

// An endpoint is what 'keepscope run' serves: on one listener all of it, on
// another, where there is one, health checks alone.
type endpoint struct {
	clients *clients
	server  *http.Server
	web     *webConfig
	health  *endpoint // nil without
	log     *slog.Logger
	failed  chan error
}

// endpointConfig says what an endpoint serves.
type endpointConfig struct {
	listen    string
	health    string // address for health checks alone; empty for none
	webConfig string
	user      *privileges.User // who serves
	metrics   prometheus.Gatherer
	page      http.Handler
	ready     func() error
	pprof     bool
	created   bool // lines that say since when counters count
}

// listenEndpoint opens the endpoint's ports; serve answers.
func listenEndpoint(cfg endpointConfig, log *slog.Logger) (*endpoint, error) {
	if err := checkWebConfig(cfg.webConfig, cfg.user); err != nil {
		return nil, err
	}
	var web *webConfig
	if err := cfg.user.Do(func() (err error) {
		web, err = newWebConfig(cfg.webConfig, log)
		return err
	}); err != nil {
		return nil, err
	}
	e, err := listenOn("listen", cfg.listen, web, log)
	if err != nil {
		return nil, err
	}
	e.server.Handler = http.MaxBytesHandler(web.guard(handler(cfg, log)), maxBodyBytes)
	if cfg.health == "" {
		return e, nil
	}
	if e.health, err = listenOn("health-listen", cfg.health, &webConfig{now: &webSettings{}}, log); err != nil {
		_ = e.clients.Close() // nothing was served
		return nil, err
	}
	mux := http.NewServeMux()
	healthChecks(mux, cfg.ready)
	e.health.server.Handler = http.MaxBytesHandler(mux, maxBodyBytes)
	e.health.server.SetKeepAlivesEnabled(false)
	return e, nil
}

// listenOn opens a port for what has no handler yet.
func listenOn(flag, address string, web *webConfig, log *slog.Logger) (*endpoint, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--%s: %w: 'ss -ltnp' says by whom; another port is set by --%s", flag, err, flag)
	case err != nil:
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	c := newClients(l, maxClients, maxEachClient, log)
	return &endpoint{
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
	}, nil
}

// checkWebConfig says what is wrong with a web configuration file, or with a
// certificate that it names. They are read again for every connection, so that
// certificates can be renewed, and hence by the user that serves.
func checkWebConfig(path string, user *privileges.User) error {
	if path == "" {
		return nil
	}
	validate := func() error { return toolkit.Validate(path) }
	err := user.Do(validate)
	switch {
	case err == nil:
		return nil
	case validate() == nil: // for this user
		return fmt.Errorf("--web-config-file: %w: %v or its group must be allowed to read it, which happens again for every connection", err, user)
	}
	return wrong("web-config-file", fmt.Errorf("--web-config-file: %w", err))
}

// ports returns the TCP ports that it listens on.
func (e *endpoint) ports() []uint16 {
	list := []uint16{e.clients.Addr().(*net.TCPAddr).AddrPort().Port()}
	if e.health != nil {
		list = append(list, e.health.ports()...)
	}
	return list
}

// collectors returns the metrics of the endpoint itself.
func (e *endpoint) collectors() []prometheus.Collector {
	count := func(name, help string, of func(*clients) uint64) prometheus.Collector {
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
			func(c *clients) uint64 { return c.displaced.Load() }),
		count("keepscope_endpoint_refused_connections_total", "Connections to the endpoint for which there was no room.",
			func(c *clients) uint64 { return c.refused.Load() }),
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

// serve answers in the background; what ends it before stop comes from failed.
func (e *endpoint) serve() {
	e.serveTo(e.failed)
	if e.health != nil {
		e.health.serveTo(e.failed)
	}
}

func (e *endpoint) serveTo(failed chan<- error) {
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

// stop lets answers under way finish until ctx is done.
func (e *endpoint) stop(ctx context.Context) {
	if e.health != nil {
		defer e.health.stop(ctx)
	}
	if e.server.Shutdown(ctx) != nil {
		_ = e.server.Close() // whoever is still reading has had its time
	}
	_ = e.clients.Close() // for an endpoint that never served
}

// handler routes requests.
func handler(cfg endpointConfig, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	site := &pages{handler: cfg.page, offer: siteOffer, age: siteAge}
	for _, path := range []string{"/{$}", "/report.json", "/server/", "/connection/"} {
		mux.Handle("GET "+path, site)
	}
	mux.Handle("GET /metrics", &pages{offer: metricsOffer, age: pageAge, handler: promhttp.HandlerFor(cfg.metrics, promhttp.HandlerOpts{
		ErrorLog:                            slog.NewLogLogger(log.Handler(), slog.LevelError),
		EnableOpenMetrics:                   true,
		EnableOpenMetricsTextCreatedSamples: cfg.created,
		OfferedCompressions:                 []promhttp.Compression{promhttp.Gzip},
	})})
	healthChecks(mux, cfg.ready)
	if cfg.pprof {
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
