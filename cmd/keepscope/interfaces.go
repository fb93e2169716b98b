package main

import (
	"fmt"
	"net"
	"strings"
	"text/tabwriter"

	"github.com/keepscope/keepscope/sniffer/printable"
)

// interfacesCmd is 'keepscope interfaces'.
type interfacesCmd struct{}

// Run lists what can be captured on.
func (interfacesCmd) Run(con console) error {
	list, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	t := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tADDRESSES")
	fmt.Fprintln(t, "any\tup\tall interfaces at once")
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil {
			return fmt.Errorf("addresses of %s: %w", i.Name, err)
		}
		var texts []string
		for _, a := range addrs {
			texts = append(texts, a.String())
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", printable.Text(i.Name), interfaceState(i.Flags), strings.Join(texts, " "))
	}
	return t.Flush()
}

// interfaceState words the flags: an interface may be up without a carrier.
func interfaceState(f net.Flags) string {
	switch {
	case f&net.FlagUp == 0:
		return "down"
	case f&net.FlagRunning == 0:
		return "no carrier"
	}
	return "up"
}
