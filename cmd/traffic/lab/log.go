package lab

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
)

// A Tuple is the two ends of a connection, as far as they vary in a lab.
type Tuple struct {
	Client     netip.AddrPort
	ServerPort uint16
}

// Logged is one connection of nginx's log.
type Logged struct {
	Serial   uint64 // in the order in which nginx accepted
	Tuple    Tuple
	Requests int // that nginx answered or gave up; 1 or more
}

// ReadLog reads the access log of a stopped [Nginx]: the connections on which
// there was a request, in the order in which they were accepted.
func ReadLog(path string) (connections []Logged, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("lab: read log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	connections, err = parseLog(f)
	if err != nil {
		return nil, fmt.Errorf("lab: read log %s: %w", path, err)
	}
	return connections, nil
}

func parseLog(r io.Reader) ([]Logged, error) {
	index := map[uint64]int{}
	var connections []Logged
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		c, err := parseLine(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		i, known := index[c.Serial]
		if !known {
			i = len(connections)
			index[c.Serial] = i
			connections = append(connections, c)
		}
		connections[i].Requests++
	}
	slices.SortFunc(connections, func(a, b Logged) int { return cmp.Compare(a.Serial, b.Serial) })
	return connections, lines.Err()
}

// parseLine reads the fields of log_format truth that are needed. Requests of
// the result is 0: a line is one request, whatever its number.
func parseLine(line string) (Logged, error) {
	var c Logged
	var nth, port int
	var addr string
	if _, err := fmt.Sscanf(line, "%d %d %s %d %d", &c.Serial, &nth, &addr, &port, &c.Tuple.ServerPort); err != nil {
		return c, fmt.Errorf("%q: %w", line, err)
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return c, fmt.Errorf("%q: %w", line, err)
	}
	c.Tuple.Client = netip.AddrPortFrom(ip, uint16(port))
	return c, nil
}
