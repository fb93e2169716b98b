package tls_test

import (
	"fmt"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
)

// A printer prints what it is told.
type printer struct{}

func (printer) Data(from http.Side, b []byte, _ int64) { fmt.Printf("%v: %s\n", from, b) }
func (printer) Gap(from http.Side, n, _ int64)         { fmt.Printf("%v: %d bytes missing\n", from, n) }
func (printer) Close(from http.Side, _ int64)          { fmt.Printf("%v: closed\n", from) }

func (printer) TLS(from http.Side, e tls.Event, i *tls.Info, at int64) {
	if e == tls.Undecrypted {
		fmt.Println("read without keys")
	}
}

func Example() {
	store := keylog.New(0)
	log := keylog.NewParser(store) // a key log is written to it
	_ = log.Close()
	store.Seal() // nothing more will come: do not wait

	shared := tls.NewDecryption(store, 0) // of one goroutine
	d := shared.New(printer{}, printer{}) // of one connection
	d.Data(http.Client, []byte("\x17\x03\x03\x00\x20"), 1)
	d.End(2)
	fmt.Println(d.State())
	// Output:
	// read without keys
	// missing
}
