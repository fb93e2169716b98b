package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// A holder is a process of this program that keeps connections open: a process
// may open fewer files than the kind open needs, and raising that limit takes a
// capability that not every root has.
type holder struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// hold starts a holder; await tells when its connections are open.
func (g *generator) hold(ctx context.Context, from netip.Addr, to netip.AddrPort, used, unused int) (*holder, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	h := &holder{cmd: g.lab.Client.Command(ctx, self, "hold", from.String(), to.String(), strconv.Itoa(used), strconv.Itoa(unused))}
	h.cmd.Stderr = os.Stderr
	in, err := h.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a holder: %w", err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a holder: %w", err)
	}
	h.in, h.out = in, bufio.NewReader(out)
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a holder: %w", err)
	}
	return h, nil
}

// await returns how many connections are open, once the last order is done.
func (h *holder) await() (int, error) {
	line, err := h.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("a holder of connections ended: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// closeHalf orders half of the connections closed; await tells when.
func (h *holder) closeHalf() error {
	_, err := io.WriteString(h.in, "half\n")
	return err
}

func (h *holder) close() error {
	return errors.Join(h.in.Close(), h.cmd.Wait())
}

// hold is the holder's side: it opens connections, says how many, and obeys one
// line: close half of them. It ends, and closes the rest, at the end of input.
func hold(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 4 {
		return usageError{errors.New("hold FROM TO USED UNUSED")}
	}
	from, err1 := netip.ParseAddr(args[0])
	to, err2 := netip.ParseAddrPort(args[1])
	used, err3 := strconv.Atoi(args[2])
	unused, err4 := strconv.Atoi(args[3])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return usageError{err}
	}
	conns, err := openAll(ctx, from, to, used, unused)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, len(conns)); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if conns, err = closeHalf(conns); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, len(conns)); err != nil {
			return err
		}
	}
	return nil
}

func openAll(ctx context.Context, from netip.Addr, to netip.AddrPort, used, unused int) ([]*conn, error) {
	var conns []*conn
	for i := range used + unused {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := dial(from, to)
		if err != nil {
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
		conns = append(conns, c)
		if i >= used {
			continue
		}
		if err := c.exchange("GET", get, 200); err != nil {
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
		c.release()
	}
	return conns, nil
}

// closeHalf closes every other connection and asks once more on every tenth of
// those that it keeps.
func closeHalf(conns []*conn) (kept []*conn, err error) {
	for i, c := range conns {
		if i%2 == 0 {
			if err := c.close(); err != nil {
				return nil, fmt.Errorf("close: %w", err)
			}
			continue
		}
		kept = append(kept, c)
		if len(kept)%10 != 0 {
			continue
		}
		if err := c.exchange("GET", get, 200); err != nil {
			return nil, err
		}
		c.release()
	}
	return kept, nil
}
