package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// walk reads a pcap's record headers and skips the packets: what reading alone
// costs in Go. It takes the byte order that tcpdump writes on this machine.
func walk(args []string, stdout io.Writer) (err error) {
	if len(args) != 1 {
		return usageError{errors.New("walk FILE")}
	}
	f, err := os.Open(args[0])
	if err != nil {
		return fmt.Errorf("walk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := bufio.NewReaderSize(f, 256<<10)
	if _, err := r.Discard(24); err != nil {
		return fmt.Errorf("walk %s: file header: %w", args[0], err)
	}
	packets, size := 0, int64(0)
	for {
		header, err := r.Peek(16)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("walk %s: packet %d: %w", args[0], packets, err)
		}
		n := int(binary.NativeEndian.Uint32(header[8:]))
		if _, err := r.Discard(16 + n); err != nil {
			return fmt.Errorf("walk %s: packet %d: %w", args[0], packets, err)
		}
		packets++
		size += int64(n)
	}
	_, err = fmt.Fprintf(stdout, "%d packets, %d bytes\n", packets, size)
	return err
}
