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
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/net/netutil"
)

// The limits of the endpoint: what one client can hold for how long.
const (
	maxClients     = 64 // connections; further ones wait
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 4 << 10
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	answerTimeout  = 60 * time.Second
	idleClients    = 2 * time.Minute // longer than any usual scrape interval, so that scrapers' connections live
)

// An endpoint is what 'keepscope run' serves.
type endpoint struct {
	listener net.Listener
	server   *http.Server
	flags    *toolkit.FlagConfig
	log      *slog.Logger
	failed   chan error
}

// endpointConfig says what an endpoint serves.
type endpointConfig struct {
	listen    string
	webConfig string
	user      *userIDs // who serves
	metrics   prometheus.Gatherer
	page      http.Handler
	ready     func() error
	pprof     bool
}

// listen opens the endpoint's port; serve answers.
func listenEndpoint(cfg endpointConfig, log *slog.Logger) (*endpoint, error) {
	if err := checkWebConfig(cfg.webConfig, cfg.user); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", cfg.listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return &endpoint{
		listener: netutil.LimitListener(l, maxClients),
		server: &http.Server{
			Handler:           http.MaxBytesHandler(handler(cfg, log), maxBodyBytes),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       requestTimeout,
			WriteTimeout:      answerTimeout,
			IdleTimeout:       idleClients,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
		flags:  &toolkit.FlagConfig{WebConfigFile: &cfg.webConfig},
		log:    log,
		failed: make(chan error, 1),
	}, nil
}

// checkWebConfig says what is wrong with a web configuration file, or with a
// certificate that it names. They are read again for every connection, so that
// certificates can be renewed, and hence by the user that serves.
func checkWebConfig(path string, user *userIDs) error {
	if path == "" {
		return nil
	}
	validate := func() error { return toolkit.Validate(path) }
	err := user.do(validate)
	switch {
	case err == nil:
		return nil
	case validate() == nil: // for this user
		return fmt.Errorf("--web-config-file: %w: %v or its group must be allowed to read it, which happens again for every connection", err, user)
	}
	return wrong("web-config-file", fmt.Errorf("--web-config-file: %w", err))
}

// port returns the TCP port that it listens on.
func (e *endpoint) port() uint16 {
	return e.listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

// serve answers in the background; what ends it before stop comes from failed.
func (e *endpoint) serve() {
	go func() {
		err := toolkit.Serve(e.listener, e.server, e.flags, e.log)
		if !errors.Is(err, http.ErrServerClosed) {
			e.failed <- fmt.Errorf("endpoint: %w", err)
		}
	}()
}

// stop lets answers under way finish until ctx is done.
func (e *endpoint) stop(ctx context.Context) {
	if e.server.Shutdown(ctx) != nil {
		_ = e.server.Close() // whoever is still reading has had its time
	}
	_ = e.listener.Close() // for an endpoint that never served
}

// handler routes requests.
func handler(cfg endpointConfig, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", cfg.page)
	mux.Handle("GET /metrics", &pages{handler: promhttp.HandlerFor(cfg.metrics, promhttp.HandlerOpts{
		ErrorLog:                            slog.NewLogLogger(log.Handler(), slog.LevelError),
		EnableOpenMetrics:                   true,
		EnableOpenMetricsTextCreatedSamples: true,
	})})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := cfg.ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "capturing")
	})
	if cfg.pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// answer writes a line of plain text.
func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// Whoever asked may have gone.
	_, _ = io.WriteString(w, text+"\n")
}
