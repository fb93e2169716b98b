package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed wrk.lua
var wrkScript []byte

// A load is what wrk sends: a fixed number of like requests.
type load struct {
	port        int
	path        string
	method      string // GET by default
	requests    int
	pipeline    int // 1 by default
	connections int // at once; 32 by default
	body        int // bytes
	headers     []string
}

// wrk runs one load to its end.
func (g *generator) wrk(ctx context.Context, l load) error {
	pipeline, connections := max(l.pipeline, 1), l.connections
	if connections == 0 {
		connections = 32
	}
	batches := max(1, g.scaled(l.requests)/pipeline)
	connections = min(connections, batches)
	method := l.method
	if method == "" {
		method = "GET"
	}
	script, err := g.lab.File("wrk.lua", wrkScript)
	if err != nil {
		return err
	}
	args := []string{
		"-t1", "-c" + strconv.Itoa(connections), "-d600s", "--timeout", "60s", "-s", script, g.lab.URL(l.port, l.path), "--",
		strconv.Itoa(batches), strconv.Itoa(pipeline), method, l.path, strconv.Itoa(l.body),
	}
	return runWrk(g.lab.Client.Command(ctx, "wrk", append(args, l.headers...)...))
}

// runWrk interrupts wrk when its script says that everything is answered.
func runWrk(cmd *exec.Cmd) error {
	var out bytes.Buffer
	var complaints strings.Builder
	cmd.Stdout = &out
	said, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("wrk: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("wrk: %w", err)
	}
	answered, ended := false, make(chan struct{})
	var interrupting sync.WaitGroup
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if lines.Text() == "answered" {
			answered = true
			interrupting.Go(func() { interrupt(cmd.Process, ended) })
			continue
		}
		complaints.WriteString(lines.Text())
	}
	close(ended)
	interrupting.Wait()
	// Interrupted before it has set its handler, wrk ends by the signal.
	if err := cmd.Wait(); err != nil && !answered {
		return fmt.Errorf("wrk: %w: %s%s", err, out.Bytes(), complaints.String())
	}
	if text := out.String(); !answered || strings.Contains(text, "Socket errors") || strings.Contains(text, "Non-2xx") {
		return fmt.Errorf("wrk: not every request was answered well: %s", text)
	}
	return nil
}

// interrupt signals wrk until it has ended: it sleeps through a signal that
// comes between its setting of the handler and its sleep.
func interrupt(p *os.Process, ended <-chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for p.Signal(os.Interrupt) == nil {
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

// ab runs a fixed number of HTTP/1.0 requests; with keep-alive where asked.
func (g *generator) ab(ctx context.Context, from netip.Addr, port, requests, connections int, keepAlive bool) error {
	requests = g.scaled(requests)
	args := []string{"-q", "-s", "60", "-B", from.String(), "-n", strconv.Itoa(requests), "-c", strconv.Itoa(min(connections, requests))}
	if keepAlive {
		args = append(args, "-k")
	}
	return g.lab.Client.Run(ctx, "ab", append(args, g.lab.URL(port, "/1k.html"))...)
}

// curl runs one curl for all the paths, so over one connection where it may.
func (g *generator) curl(ctx context.Context, paths []string, options ...string) error {
	args := append([]string{"-sS", "--fail", "--max-time", "120"}, options...)
	for _, path := range paths {
		args = append(args, "-o", "/dev/null", g.lab.URL(port100, path))
	}
	return g.lab.Client.Run(ctx, "curl", args...)
}
