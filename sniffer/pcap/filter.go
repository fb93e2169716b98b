package pcap

// #include <stdlib.h>
// #include <pcap/pcap.h>
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"

	"github.com/keepscope/keepscope/sniffer"
)

// A Filter keeps of another source's frames those that match a filter in the
// language of pcap-filter(7): what the kernel does for a live Source. Libpcap
// compiles it, once for each link type.
type Filter struct {
	src  sniffer.Source
	expr string
	vms  map[sniffer.LinkType]*bpf.VM
}

// NewFilter returns a Filter over src. The expression is checked for Ethernet
// at once.
func NewFilter(src sniffer.Source, expr string) (*Filter, error) {
	f := &Filter{src: src, expr: expr, vms: map[sniffer.LinkType]*bpf.VM{}}
	if _, err := f.vm(sniffer.LinkEthernet); err != nil {
		return nil, err
	}
	return f, nil
}

// filterSnaplen is what a compiled filter returns for a frame to keep: all of
// it.
const filterSnaplen = 1 << 18

// vm returns the filter's program for a link type.
func (f *Filter) vm(link sniffer.LinkType) (*bpf.VM, error) {
	if vm := f.vms[link]; vm != nil {
		return vm, nil
	}
	program, err := compile(link, f.expr)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", f.expr, err)
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", f.expr, err)
	}
	f.vms[link] = vm
	return vm, nil
}

// Read implements sniffer.Source.
func (f *Filter) Read(b *sniffer.Batch) error {
	if err := f.src.Read(b); err != nil {
		return err
	}
	kept := b.Frames[:0]
	for i := range b.Frames {
		frame := &b.Frames[i]
		vm, err := f.vm(frame.Link)
		if err != nil {
			return err
		}
		if n, err := vm.Run(frame.Data); err == nil && n > 0 {
			kept = append(kept, *frame)
		}
	}
	b.Frames = kept
	return nil
}

// compile has libpcap compile a filter for a link type.
func compile(link sniffer.LinkType, expr string) ([]bpf.Instruction, error) {
	dlt := C.int(link)
	if link == sniffer.LinkRaw {
		dlt = C.DLT_RAW
	}
	h := C.pcap_open_dead(dlt, filterSnaplen)
	if h == nil {
		return nil, errNoMemory
	}
	defer C.pcap_close(h)
	text := C.CString(expr)
	defer C.free(unsafe.Pointer(text))
	var prog C.struct_bpf_program
	if C.pcap_compile(h, &prog, text, 1, C.PCAP_NETMASK_UNKNOWN) != 0 {
		return nil, errors.New(C.GoString(C.pcap_geterr(h)))
	}
	defer C.pcap_freecode(&prog)
	var out []bpf.Instruction
	for _, i := range unsafe.Slice(prog.bf_insns, int(prog.bf_len)) {
		out = append(out, bpf.RawInstruction{Op: uint16(i.code), Jt: uint8(i.jt), Jf: uint8(i.jf), K: uint32(i.k)}.Disassemble())
	}
	return out, nil
}

var errNoMemory = errors.New("libpcap is out of memory")

// CheckFilter says whether libpcap accepts a filter, for Ethernet.
func CheckFilter(expr string) error {
	if _, err := compile(sniffer.LinkEthernet, expr); err != nil {
		return &FilterError{expr, err.Error()}
	}
	return nil
}
