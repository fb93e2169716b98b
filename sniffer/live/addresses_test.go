package live

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/keepscope/keepscope/sniffer"
)

// TestAddressAdded adds an address to a host that is captured on: it is known as the
// host's sooner than the addresses are read anew without a reason.
func TestAddressAdded(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	const inside = "KEEPSCOPE_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		cmd := exec.CommandContext(t.Context(), "unshare", "--net", os.Args[0], "-test.run=^TestAddressAdded$")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	ip := exec.CommandContext(t.Context(), "sh", "-c", "ip link set lo up && echo up && while read -r words; do ip $words; done")
	ip.Stderr = os.Stderr
	words, err := ip.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := ip.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ip.Start(); err != nil { // it keeps the rights that Open gives up
		t.Fatal(err)
	}
	if _, err := said.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), Config{Interfaces: []string{"lo"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	added := sniffer.Addr(netip.MustParseAddr("192.0.2.7").As16())
	if l.Local(added) {
		t.Fatal("an address is this host's before it is added")
	}
	fmt.Fprintln(words, "address add 192.0.2.7/32 dev lo")
	for begun := time.Now(); !l.Local(added); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > refreshAddrs/2 {
			t.Fatal("an address that was added is not this host's")
		}
	}
	fmt.Fprintln(words, "address del 192.0.2.7/32 dev lo")
	for begun := time.Now(); l.Local(added); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > refreshAddrs/2 {
			t.Fatal("an address that is gone is this host's")
		}
	}
	words.Close()
	if err := ip.Wait(); err != nil {
		t.Error(err)
	}
}
