package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// defaultRing is large enough to ride out a busy machine's pauses.
const defaultRing = 512 << 20

// A CaptureConfig says what is captured. Its zero value works.
type CaptureConfig struct {
	Interface string   // the namespace's end of the veth by default
	Filter    string   // in tcpdump's language; "tcp" by default
	Ring      int      // bytes; 512 MiB by default
	Args      []string // further arguments of tcpdump
}

// A Capture is a running tcpdump.
type Capture struct {
	path string
	cmd  *exec.Cmd
	said *bytes.Buffer
	done chan error
}

// Capture starts tcpdump in a namespace and returns once it captures. The
// caller stops it, after a cancel too.
func (n *Namespace) Capture(ctx context.Context, path string, config CaptureConfig) (*Capture, error) {
	if config.Interface == "" {
		config.Interface = n.Interface
	}
	if config.Filter == "" {
		config.Filter = "tcp"
	}
	if config.Ring == 0 {
		config.Ring = defaultRing
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lab: capture: %w", err)
	}
	args := append([]string{"-n", "-Z", "root", "-i", config.Interface, "-B", strconv.Itoa(config.Ring >> 10), "-w", path}, config.Args...)
	args = append(args, config.Filter)
	c := &Capture{path: path, said: new(bytes.Buffer), done: make(chan error, 1)}
	c.cmd = n.Command(context.WithoutCancel(ctx), "tcpdump", args...)
	c.cmd.Stderr = c.said
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("lab: start tcpdump: %w", err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	// Best effort: a lower priority of the capture only makes drops likelier,
	// and drops are found at the end.
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, c.cmd.Process.Pid, -10)
	return c, c.awaitStart(ctx)
}

// awaitStart waits for the file: tcpdump makes it once the interface is open,
// and writes its header at the first packet.
func (c *Capture) awaitStart(ctx context.Context) error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(c.path); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-c.done:
			return fmt.Errorf("lab: tcpdump ended at its start: %w: %s", err, c.said)
		case <-deadline.C:
			return errors.Join(fmt.Errorf("lab: tcpdump did not capture within %v", startTimeout), stop(c.cmd.Process, c.done, os.Interrupt))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), stop(c.cmd.Process, c.done, os.Interrupt))
		}
	}
}

// quiet is how long the file must not grow before its capture is taken to have
// written everything: tcpdump forgets what is still in the ring when told to
// stop, and reads a block at the latest after its timeout of one second.
const quiet = 2500 * time.Millisecond

// Stop waits until tcpdump has written what it captured, ends it, and returns
// the number of packets. A packet that was dropped is an error.
func (c *Capture) Stop() (packets int, err error) {
	c.settle()
	if err := stop(c.cmd.Process, c.done, os.Interrupt); err != nil {
		return 0, fmt.Errorf("lab: stop tcpdump: %w: %s", err, c.said)
	}
	return captured(c.said.String())
}

func (c *Capture) settle() {
	size, since := int64(-1), time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for time.Since(since) < quiet {
		info, err := os.Stat(c.path)
		if err != nil {
			return
		}
		if info.Size() != size {
			size, since = info.Size(), time.Now()
		}
		<-tick.C
	}
}

// counters are what tcpdump says at its end.
var counters = regexp.MustCompile(`(?m)^(\d+) packets? (captured|received by filter|dropped by kernel|dropped by interface)$`)

// captured reads tcpdump's last words.
func captured(said string) (int, error) {
	counts := map[string]int{}
	for _, m := range counters.FindAllStringSubmatch(said, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, fmt.Errorf("lab: tcpdump: %w", err)
		}
		counts[m[2]] = n
	}
	dropped := counts["dropped by kernel"] + counts["dropped by interface"]
	if _, ok := counts["captured"]; !ok || dropped > 0 || counts["captured"] != counts["received by filter"] {
		return counts["captured"], fmt.Errorf("lab: the capture is not whole: %s", strings.Join(strings.Fields(said), " "))
	}
	return counts["captured"], nil
}
