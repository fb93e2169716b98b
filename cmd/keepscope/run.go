package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/endpoint"
	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/otlp"
	"github.com/keepscope/keepscope/exporter/recordlog"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/exporter/web"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/live"
	"github.com/keepscope/keepscope/sniffer/pcap"
	"github.com/keepscope/keepscope/sniffer/privileges"
)

// runCmd is 'keepscope run'.
type runCmd struct {
	liveFlags     `group:"Capture:"`
	Config        configFile `placeholder:"FILE" help:"YAML file with these flags' names and their values. Flags and environment variables take precedence."`
	Listen        string     `group:"Endpoint:" default:"127.0.0.1:9737" placeholder:"ADDRESS" help:"Address and port to serve on: /metrics, the page /, /report.json, /healthz and /readyz."`
	HealthListen  string     `group:"Endpoint:" placeholder:"ADDRESS" help:"Address and port to serve /healthz and /readyz on, too, without TLS and password: for probes. By default they are served with the rest only."`
	WebConfigFile string     `group:"Endpoint:" placeholder:"FILE" help:"TLS and authentication of the endpoint: a web configuration file as Prometheus exporters have it. The user that keepscope becomes must be allowed to read it, and the certificate and key."`
	Pprof         bool       `group:"Endpoint:" help:"Serve /debug/pprof, too."`

	WaitForInterface bool `group:"Capture:" help:"Start, and be not ready, where an interface can't be captured on yet, and try it again. Without it that is exit status 1."`

	MemoryLimit size `group:"Analysis:" placeholder:"SIZE" help:"Memory that the process may take in all, as a container's limit. The heap is kept within what 85 % of it leave beside --buffer-size and the program. GOMEMLIMIT takes precedence."`

	Linger time.Duration `placeholder:"TIME" help:"Go on for this long after SIGTERM, for an app that drains meanwhile. A second SIGTERM ends that, in order."`

	LogConnections string `group:"Log of connections:" placeholder:"FILE|DIR/" help:"Write a line of JSON for each connection that ends; '-' is standard output, a folder gets a file an hour in dt=DAY/node=NODE/, none of which is ever removed, and a report beside them that 'keepscope merge' adds up with other nodes'. A file that is renamed, removed or cut short is made anew, at SIGHUP at once. The user that keepscope becomes must be allowed to write in the file's directory."`
	LogMaxSize     size   `group:"Log of connections:" default:"100MiB" help:"Size at which that file is rotated."`
	LogFormat      string `group:"Log of connections:" name:"connections-format" enum:"ndjson,parquet" default:"ndjson" help:"What the log is written as: ${enum}; parquet takes a folder."`
	LogKeep        int    `group:"Log of connections:" default:"3" help:"Rotated files that are kept, as FILE.1 and so on."`

	OTLPLogsEndpoint string `group:"Log of connections:" name:"otlp-logs-endpoint" placeholder:"URL" help:"Push an event for each connection that ends to this OTLP endpoint, e.g. http://collector:4318."`

	OTLPEndpoint string        `group:"Metrics:" name:"otlp-endpoint" placeholder:"URL" help:"Push the metrics to this OTLP endpoint, too, e.g. http://collector:4318, or whole where it has a path: http://prometheus:9090/api/v1/otlp/v1/metrics."`
	OTLPInterval time.Duration `group:"Metrics:" name:"otlp-interval" default:"30s" help:"Time between two pushes."`
	OTLPNames    string        `group:"Metrics:" name:"otlp-names" enum:"prometheus,opentelemetry" default:"prometheus" help:"What pushed metrics are called: ${enum}. The dashboards and rules want prometheus; opentelemetry takes the names of its conventions, where these have one."`

	CreatedLines      bool `group:"Metrics:" help:"Say when each counter and histogram began (_created), to scrapers that ask for OpenMetrics: nearly half as many lines again."`
	ExemplarAddresses bool `group:"Metrics:" help:"Tell both addresses of the connections that exemplars name by their id."`
	metricFlags       `embed:"" group:"Metrics:" set:"max_servers=200"`
	analysis          `group:"Analysis:"`
	storyFlags        `group:"Analysis:"`

	captures func() // called once packets are captured; nil is nothing to call
}

// metricFlags say how metrics are labelled.
type metricFlags struct {
	ServerName        string         `placeholder:"NAME" help:"Name of the server behind inbound connections, in place of the local address and port."`
	MaxServers        int            `default:"${max_servers}" help:"Servers that are called by their name; beyond, they are counted as 'other'. Each takes about 100 lines of /metrics, with TLS 155."`
	LabelClient       bool           `help:"Label the metrics with the client's /24 or /64 network, too: at most as many pairs of network and server as --max-servers, and so at most twice the lines."`
	LocalAddress      []netip.Prefix `placeholder:"NET" help:"Addresses that count as this host's own beside those it has."`
	NativeHistograms  bool           `default:"true" negatable:"" help:"Export native histograms, to scrapers that understand them."`
	ClassicHistograms bool           `default:"true" negatable:"" help:"Export classic histograms."`
}

func (m *metricFlags) check() error {
	var none error
	if !m.NativeHistograms && !m.ClassicHistograms {
		none = wrong("native-histograms", errors.New("--no-native-histograms and --no-classic-histograms leave none"))
	}
	return errors.Join(takes(m.MaxServers >= 1 && m.MaxServers <= 10000, "max-servers", m.MaxServers, "1 to 10000"), none)
}

// config returns the exporter's configuration as far as the flags tell it.
func (m *metricFlags) config() exporter.Config {
	v, commit, goVersion := buildVersion()
	return exporter.Config{
		ByNetwork: m.LabelClient,
		NoClassic: !m.ClassicHistograms, NoNative: !m.NativeHistograms,
		Version: v, Commit: commit, GoVersion: goVersion,
	}
}

// tally returns how facts are counted, as far as the flags tell it; local says
// which addresses are this host's.
func (m *metricFlags) tally(local func(sniffer.Addr) bool) tally.Config {
	return tally.Config{Desk: naming.Desk{Local: local, Inbound: true, Name: m.ServerName}, MaxServers: m.MaxServers, ByNetwork: m.LabelClient}
}

// local says whether the flags count an address as the host's own.
func (m *metricFlags) local(a sniffer.Addr) bool {
	ip := a.Netip()
	for _, p := range m.LocalAddress {
		if p.Contains(ip) {
			return true
		}
	}
	return ip.IsLoopback()
}

// minSnaplen is the least that pcap.Open takes.
const minSnaplen = 64

// pushes says whether the program opens connections of its own.
func (r *runCmd) pushes() bool { return r.OTLPEndpoint != "" || r.OTLPLogsEndpoint != "" }

// check says what is wrong with the flags as far as they alone tell.
func (r *runCmd) check(ctx context.Context) error {
	list := []error{
		r.analysis.check(), r.metricFlags.check(), r.storyFlags.check(),
		takes(r.Snaplen >= minSnaplen && r.Snaplen <= pcap.MaxSnaplen, "snaplen", r.Snaplen, fmt.Sprintf("%d to %d", minSnaplen, pcap.MaxSnaplen)),
		takes(r.BufferSize >= 1 && r.BufferSize <= math.MaxInt32, "buffer-size", r.BufferSize, "1 to 2147483647"),
		takes(r.MemoryLimit == 0 || r.MemoryLimit >= minMemoryLimit+r.rings(), "memory-limit", r.MemoryLimit, fmt.Sprintf("at least %v, with these buffers", minMemoryLimit+r.rings())),
		takes(r.LogMaxSize >= 1, "log-max-size", r.LogMaxSize, "at least 1"),
		takes(r.LogKeep >= 0 && r.LogKeep <= 1000, "log-keep", r.LogKeep, "0 to 1000"),
		takes(r.Linger >= 0, "linger", r.Linger, "at least 0s"),
		takes(r.OTLPInterval >= time.Second, "otlp-interval", r.OTLPInterval, "at least 1s"),
		takes(isAddress(ctx, r.Listen), "listen", r.Listen, "an address and a port, as 127.0.0.1:9737"),
	}
	if r.HealthListen != "" {
		list = append(list, takes(isAddress(ctx, r.HealthListen), "health-listen", r.HealthListen, "an address and a port, as :9738"))
	}
	if err := pcap.CheckFilter(r.Filter); err != nil {
		list = append(list, wrong("filter", err))
	}
	if r.OTLPEndpoint != "" {
		list = append(list, takes(otlp.CheckEndpoint(r.OTLPEndpoint) == nil, "otlp-endpoint", r.OTLPEndpoint, aCollector))
	}
	if r.OTLPLogsEndpoint != "" {
		list = append(list, takes(otlp.CheckEndpoint(r.OTLPLogsEndpoint) == nil, "otlp-logs-endpoint", r.OTLPLogsEndpoint, aCollector))
	}
	if r.User != "" {
		_, err := findUser(r.User)
		list = append(list, err)
	}
	return errors.Join(list...)
}

// aCollector is what an OTLP endpoint is written as.
const aCollector = "a URL such as http://collector:4318"

// isAddress says whether something can be listened on, as far as its words
// tell: a host's name is not looked up.
func isAddress(ctx context.Context, address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(ctx, "tcp", port) // in /etc/services
	}
	return err == nil
}

// A sidecar is 'keepscope run' at work.
type sidecar struct {
	cmd      *runCmd
	log      *slog.Logger
	pipeline *pipeline
	exporter *exporter.Exporter
	process  *prometheus.Registry // metrics of the process itself
	logs     []*recordlog.Log
	own      otlp.OwnTraffic
	live     *live.Source
	meter    *meter
	mu       sync.Mutex
	grown    history.History // under mu
	ended    atomic.Bool
}

// openLog starts the log that the flags ask for.
func (r *runCmd) openLog(con console, user *privileges.User, report func(io.Writer) error, log *slog.Logger) (l *recordlog.Log, err error) {
	info, failed := os.Stat(r.LogConnections)
	switch {
	case strings.HasSuffix(r.LogConnections, "/") || failed == nil && info.IsDir():
		v, _, _ := buildVersion()
		l, err = recordlog.OpenFolder(recordlog.FolderConfig{
			Path: r.LogConnections, Parquet: r.LogFormat == "parquet", MaxSize: int64(r.LogMaxSize),
			From: livePlace(), Version: v, User: user, Report: report, Log: log,
		})
	case r.LogFormat == "parquet":
		return nil, wrong("connections-format", errors.New("--connections-format=parquet: it takes a folder, as with --log-connections=/var/log/keepscope/"))
	case r.LogConnections == "-":
		l, err = recordlog.OpenFile(recordlog.FileConfig{Out: con.out, Log: log})
	default:
		l, err = recordlog.OpenFile(recordlog.FileConfig{
			Path: r.LogConnections, MaxSize: int64(r.LogMaxSize), Keep: r.LogKeep, User: user, Log: log,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("--log-connections: %w", err)
	}
	return l, nil
}

// Run captures and serves until it is told to stop.
func (r *runCmd) Run(ctx context.Context, con console, log *slog.Logger) error {
	if err := r.check(ctx); err != nil {
		return err
	}
	// A terminal that goes, and logrotate's habit, end no sidecar; nor does a pipe
	// whose reader is gone.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	signal.Ignore(syscall.SIGPIPE)
	s := &sidecar{cmd: r, log: log}
	var hooks shutdownHooks
	defer func() { hooks.run() }()
	user, err := becomes(r.User)
	if err != nil {
		return err
	}
	if r.LogConnections != "" {
		lines, err := r.openLog(con, user, s.writeReport, log)
		if err != nil {
			return err
		}
		s.logs = append(s.logs, lines)
		hooks = append(hooks, lines.Close)
	}
	if r.OTLPLogsEndpoint != "" {
		events, err := otlp.OpenLog(s.target(r.OTLPLogsEndpoint))
		if err != nil {
			return fmt.Errorf("--otlp-logs-endpoint: %w", err)
		}
		s.logs = append(s.logs, events)
		hooks = append(hooks, events.Close)
	}
	r.limitMemory()
	follow := r.followKeys(log)
	s.build()
	e, err := s.listen(user)
	if err != nil {
		return err
	}
	hooks = append(hooks, e.Stop)
	s.process.MustRegister(e.Collectors()...)
	ctx, cancel := r.lingering(ctx)
	defer cancel()
	if s.live, err = r.openLive(ctx, live.Config{
		Copy: r.Workers > 1, Tunnels: r.DecodeTunnels, ExcludePorts: e.Ports(), Retry: true, Await: r.WaitForInterface,
		Confine: s.confine(), Log: log,
	}); err != nil {
		return err
	}
	defer s.live.Close()
	if r.captures != nil {
		r.captures()
	}
	s.meter = &meter{
		src: s.live, decoder: s.pipeline.reader.Decoder, drops: s.live.Drops,
		name: func(i int) string { return s.live.Interfaces()[i] },
	}
	if r.OTLPEndpoint != "" {
		stop, err := otlp.PushMetrics(s.target(r.OTLPEndpoint), s.exporter, r.OTLPInterval, r.OTLPNames == "opentelemetry")
		if err != nil {
			return fmt.Errorf("--otlp-endpoint: %w", err)
		}
		hooks = append(hooks, stop)
	}
	e.Serve()
	go follow(ctx)
	go s.reopenAt(ctx, hangups)
	go s.remember(ctx)
	return s.capture(ctx, cancel, e)
}

// listen opens the ports of the endpoint.
func (s *sidecar) listen(user *privileges.User) (*endpoint.Endpoint, error) {
	r := s.cmd
	settings, err := endpoint.OpenWebConfig(r.WebConfigFile, user, s.log)
	if err != nil {
		return nil, webConfigError(err)
	}
	l, err := listenOn("listen", r.Listen)
	if err != nil {
		return nil, err
	}
	var health net.Listener
	if r.HealthListen != "" {
		if health, err = listenOn("health-listen", r.HealthListen); err != nil {
			_ = l.Close() // nothing was served
			return nil, err
		}
	}
	return endpoint.New(endpoint.Config{
		Listener: l, Health: health, Web: settings, Metrics: s.exporter, Ready: s.ready, Pprof: r.Pprof, Created: r.CreatedLines, Log: s.log,
		Page: web.New(web.Source{Latest: s.latest, Mergeable: s.mergeable, Stories: s.pipeline.stories}),
	}), nil
}

// listenOn opens the port that a flag names.
func listenOn(flag, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--%s: %w: 'ss -ltnp' says by whom; another port is set by --%s", flag, err, flag)
	case err != nil:
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return l, nil
}

// webConfigError says what is wrong with the web configuration file.
func webConfigError(err error) error {
	if err == nil {
		return nil
	}
	said := fmt.Errorf("--web-config-file: %w", err)
	if _, forbidden := errors.AsType[endpoint.ForbiddenError](err); forbidden {
		return said
	}
	return wrong("web-config-file", said)
}

// target says where something is pushed, and who pushes.
func (s *sidecar) target(endpoint string) otlp.Target {
	v, _, _ := buildVersion()
	return otlp.Target{Endpoint: endpoint, Own: &s.own, Version: v, Listen: s.cmd.Listen, Log: s.log}
}

// remember notes now and then what was counted, whether or not somebody looks.
func (s *sidecar) remember(ctx context.Context) {
	tick := time.NewTicker(history.FiveMinutes.Step())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.latest()
		}
	}
}

// reopenAt opens the log of connections anew at each signal.
func (s *sidecar) reopenAt(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			for _, l := range s.logs {
				l.Reopen()
			}
			if s.cmd.LogConnections != "" {
				s.log.Info("connection log: reopened")
			}
		}
	}
}

// capture analyses until ctx is done or something fails.
func (s *sidecar) capture(ctx context.Context, cancel func(), e *endpoint.Endpoint) error {
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		select {
		case <-ctx.Done():
		case err := <-e.Failed():
			failed <- err
			cancel()
		}
	}()
	// The source ends once ctx is done and what the kernel holds is read.
	err := s.pipeline.run(context.WithoutCancel(ctx), s.meter)
	s.ended.Store(true)
	s.meter.finish()
	s.pipeline.finish()
	cancel()
	return errors.Join(err, <-failed)
}

// build makes what hears the workers.
func (s *sidecar) build() {
	cfg := s.cmd.metricFlags.config()
	cfg.Start, cfg.ReuseWindow, cfg.ExemplarAddresses = time.Now(), s.cmd.ReuseWindow, s.cmd.ExemplarAddresses
	local := func(a sniffer.Addr) bool { return s.live.Local(a) || s.cmd.local(a) }
	cfg.Stages = s.stages
	s.process = prometheus.NewRegistry()
	s.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg.Also = s.process
	l := listen{tally: s.cmd.metricFlags.tally(local), stories: s.cmd.stories(s.cmd.Workers)}
	if s.cmd.pushes() {
		s.own.Local = local
		l.wrap = s.own.LeftOut
	}
	for _, log := range s.logs {
		l.reuseIdle = recordlog.IdleTimes
		l.each = append(l.each, func(int) fact.Observer { return log.Observer() })
	}
	s.pipeline = s.cmd.analysis.pipeline(l)
	s.exporter = exporter.New(s.pipeline.tally, cfg)
}

// stages tells the exporter what the stages before the workers counted.
func (s *sidecar) stages() exporter.Stages {
	out := s.meter.stages(len(s.live.Interfaces()))
	out.Reassembly, out.Limits, out.KeylogLines = s.pipeline.reassembly(), s.pipeline.limits(), s.cmd.keylogLines()
	for _, l := range s.logs {
		written, dropped := l.Counts()
		out.LogLines, out.LogDropped = out.LogLines+written, out.LogDropped+dropped
	}
	return out
}

// ready returns nil while packets are captured on every interface.
func (s *sidecar) ready() error {
	if s.ended.Load() {
		return errors.New("stopping")
	}
	return s.live.Ready()
}

// latest sums up what was seen so far, and lately, for the page.
func (s *sidecar) latest() web.Latest {
	r := s.pipeline.build(s.captured(), false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grown.Add(time.Now(), r)
	return web.Latest{Report: r, Grown: s.grown.Clone()}
}

// mergeable is the report on what was seen so far, as a file's that may be merged.
func (s *sidecar) mergeable() (*report.Report, error) {
	return s.pipeline.mergeable(s.captured(), false)
}

// writeReport writes it.
func (s *sidecar) writeReport(w io.Writer) error {
	r, err := s.mergeable()
	if err != nil {
		return err
	}
	return r.WriteJSON(w)
}

// captured says what the figures rest on.
func (s *sidecar) captured() report.Capture {
	capture := s.cmd.liveFlags.capture(s.live)
	s.pipeline.complete(&capture, s.meter.decoded())
	return capture
}

// confine says what running takes of the file system.
func (s *sidecar) confine() privileges.Confinement {
	r := s.cmd
	c := privileges.Confinement{Read: r.keyFolders()}
	for _, l := range s.logs {
		if l.Folder != "" {
			c.Write = append(c.Write, l.Folder)
		}
	}
	if r.WebConfigFile != "" {
		c.Read = append(c.Read, endpoint.WebConfigFiles(r.WebConfigFile)...)
	}
	if r.pushes() {
		c.Read = append(c.Read, "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", otlp.MachineID,
			"/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates")
	}
	return c
}
