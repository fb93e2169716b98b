package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startTimeout = 10 * time.Second
	stopTimeout  = 15 * time.Second
)

// An NginxConfig says how nginx is set up. Its zero value serves nothing.
type NginxConfig struct {
	// Servers is the text of server blocks, in which {{.Addr}} stands for the
	// server's address (bracketed where it is IPv6) and {{.Root}} for a
	// directory of files.
	Servers string
	// Files are put into Root, by name.
	Files map[string][]byte
	// Connections is the most that a worker has open at once, 4096 by default.
	Connections int
	// Workers is how many processes serve, 1 by default.
	Workers int
}

// An Nginx is a running nginx.
type Nginx struct {
	Log     string // its access log: complete once it is stopped
	dir     string
	cmd     *exec.Cmd
	done    chan error
	asked   atomic.Int64 // connections made by Status itself
	client  http.Client
	stopped bool
}

var nginxConf = template.Must(template.New("nginx").Parse(`
daemon off;
user root;
worker_processes {{.Workers}};
worker_rlimit_nofile {{.Files}};
pid {{.Dir}}/nginx.pid;
error_log {{.Dir}}/error.log warn;
events { worker_connections {{.Connections}}; }
http {
	log_format truth '$connection $connection_requests $remote_addr $remote_port $server_port $status $request_method $server_protocol $request_length $bytes_sent';
	access_log {{.Dir}}/access.log truth buffer=64k;
	types { text/html html; text/plain txt; }
	default_type application/octet-stream;
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
	server {
		listen unix:{{.Dir}}/status.sock;
		access_log off;
		location / { stub_status; }
	}
{{.Servers}}
}
`))

// NewNginx starts nginx in the server's namespace and returns when it serves.
func (l *Lab) NewNginx(ctx context.Context, config NginxConfig) (*Nginx, error) {
	if config.Connections == 0 {
		config.Connections = 4096
	}
	config.Workers = max(config.Workers, 1)
	dir, err := os.MkdirTemp(l.Dir, "nginx-")
	if err != nil {
		return nil, fmt.Errorf("lab: nginx: %w", err)
	}
	for name, content := range config.Files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, fmt.Errorf("lab: nginx: %w", err)
		}
	}
	conf, err := l.nginxConf(dir, config)
	if err != nil {
		return nil, fmt.Errorf("lab: nginx: configuration: %w", err)
	}
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, conf, 0o600); err != nil {
		return nil, fmt.Errorf("lab: nginx: %w", err)
	}
	n := &Nginx{Log: filepath.Join(dir, "access.log"), dir: dir, done: make(chan error, 1)}
	n.client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: n.dialStatus}
	if err := n.start(ctx, l.Server, path); err != nil {
		return nil, err
	}
	return n, nil
}

func (l *Lab) nginxConf(dir string, config NginxConfig) ([]byte, error) {
	addr := l.Server.Addrs[0].String()
	if l.Server.Addrs[0].Is6() {
		addr = "[" + addr + "]"
	}
	servers, err := template.New("servers").Parse(config.Servers)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := servers.Execute(&text, map[string]string{"Addr": addr, "Root": dir}); err != nil {
		return nil, err
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, err
	}
	var conf bytes.Buffer
	err = nginxConf.Execute(&conf, map[string]any{
		"Dir": dir, "Servers": text.String(),
		"Connections": config.Connections, "Workers": config.Workers,
		// nginx may raise its limit to the hard one; beyond takes a capability.
		"Files": min(files.Max, uint64(2*config.Connections+100)),
	})
	return conf.Bytes(), err
}

func (n *Nginx) start(ctx context.Context, namespace *Namespace, conf string) error {
	// The context only bounds the start: Stop ends nginx, so that its log is
	// complete even after a cancel.
	n.cmd = namespace.Command(context.WithoutCancel(ctx), "nginx", "-p", n.dir, "-e", n.dir+"/error.log", "-c", conf)
	var said bytes.Buffer
	n.cmd.Stdout, n.cmd.Stderr = &said, &said
	n.cmd.WaitDelay = time.Second // a worker may outlive a master that was killed
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("lab: start nginx: %w", err)
	}
	go func() { n.done <- n.cmd.Wait() }()
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := n.Accepted(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-n.done:
			n.stopped = true
			return fmt.Errorf("lab: nginx ended at its start: %w: %s", err, said.Bytes())
		case <-deadline.C:
			return errors.Join(fmt.Errorf("lab: nginx did not serve within %v", startTimeout), n.Stop())
		case <-ctx.Done():
			return errors.Join(ctx.Err(), n.Stop())
		}
	}
}

func (n *Nginx) dialStatus(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(n.dir, "status.sock"))
	if err == nil {
		n.asked.Add(1)
	}
	return conn, err
}

// accepts is the line of counters in stub_status.
var accepts = regexp.MustCompile(`(?m)^ (\d+) \d+ \d+ $`)

// Accepted is how many connections nginx has accepted, used or not. The
// question goes through a Unix socket, so it leaves no packet.
func (n *Nginx) Accepted(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://status/", nil)
	if err != nil {
		return 0, fmt.Errorf("lab: nginx status: %w", err)
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("lab: nginx status: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, fmt.Errorf("lab: nginx status: %w", err)
	}
	m := accepts.FindSubmatch(body)
	if m == nil {
		return 0, fmt.Errorf("lab: nginx status: no counters in %q", body)
	}
	total, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0, fmt.Errorf("lab: nginx status: %w", err)
	}
	return total - int(n.asked.Load()), nil
}

// AllAccepted is Accepted, once nginx has taken what waits in its listen queues:
// when the count has not changed for half a second.
func (n *Nginx) AllAccepted(ctx context.Context) (int, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last, same := -1, 0
	for same < 10 {
		now, err := n.Accepted(ctx)
		if err != nil {
			return 0, err
		}
		if now == last {
			same++
		} else {
			last, same = now, 0
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return last, nil
}

// Reload has new workers take over, as a change of configuration does: the old ones
// close their idle connections.
func (n *Nginx) Reload() error {
	if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("lab: reload nginx: %w", err)
	}
	return nil
}

// Stop ends nginx: idle connections are closed, requests in progress are
// finished, the log is written out. A second call does nothing.
func (n *Nginx) Stop() error { return n.end(syscall.SIGQUIT) }

// Kill ends nginx at once, whatever is in progress; the log is written out.
func (n *Nginx) Kill() error { return n.end(syscall.SIGTERM) }

func (n *Nginx) end(signal os.Signal) error {
	if n.stopped {
		return nil
	}
	n.stopped = true
	if err := stop(n.cmd.Process, n.done, signal); err != nil {
		return fmt.Errorf("lab: stop nginx: %w", err)
	}
	return nil
}

// stop signals a process and waits for it; one that does not end is killed.
func stop(p *os.Process, done <-chan error, signal os.Signal) error {
	if err := p.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	if err := p.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("killed, as it did not end within %v: %w", stopTimeout, <-done)
}
