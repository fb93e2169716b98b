// Command traffic makes the captures on which Keepscope is measured, from real
// servers and clients, each with the truth of the server's log beside it; and it
// measures programs on them.
//
//	traffic -kind small|bulk|churn|open|demo -out FILE [-scale 1]
//	traffic yardstick [-rounds 3] [-keepscope PROGRAM] [-only NAMES] FILE...
//	traffic walk FILE
//	traffic gopacket [-in-place] FILE
//
// The first makes a capture. yardstick measures cat, walk, keepscope, gopacket,
// in-place and tshark on files. Three of those are here: walk, a reader of record
// headers; gopacket, its reassembly with net/http, used as its own examples do; and
// in-place, the same as quick as we know to write it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// A usageError is a fault of the command line.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run returns the exit status: 0 done, 1 failed, 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := command(ctx, args, stdout, stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(stderr, "traffic:", err)
	if errors.As(err, &usageError{}) {
		return 2
	}
	return 1
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "yardstick":
		return yardstick(ctx, args[1:], stdout, stderr)
	case "walk":
		return walk(args[1:], stdout)
	case "gopacket":
		return baseline(args[1:], stdout, stderr)
	case "hold":
		return hold(ctx, args[1:], os.Stdin, stdout)
	}
	return record(ctx, args, stdout, stderr)
}
