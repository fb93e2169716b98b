package pcap

/*
#cgo linux LDFLAGS: -lpcap
#include <stdlib.h>
#include "batch.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/sniffer"
)

// The defaults and bounds of a Config.
const (
	DefaultBuffer  = 64 << 20
	DefaultSnaplen = 64<<10 + 512
	MaxSnaplen     = 256 << 10
	MaxInterfaces  = 64

	// wait is how long Read waits for a first frame.
	wait = 100 * time.Millisecond
	// hold is how long the kernel holds frames back to hand over many at once.
	hold = 50 * time.Millisecond
	// batchBuffer is the memory of a batch.
	batchBuffer = 1 << 20
	// countEvery is how often the drops are read.
	countEvery = time.Second
)

// A Config says what to capture. Only Interfaces must be set.
type Config struct {
	Interfaces []string // names, or "any"; at most MaxInterfaces
	Filter     string   // in the language of pcap-filter(7); empty captures everything
	// Tagged applies Filter behind up to two VLAN tags, too: without it a filter
	// such as "tcp" looks only at frames without one (or whose tag the network
	// card took out).
	Tagged  bool
	Snaplen int // bytes kept of a frame (default DefaultSnaplen, at most MaxSnaplen)
	Buffer  int // bytes of the kernel's ring for each interface (default DefaultBuffer)
	// Promiscuous asks for frames that are not this host's.
	Promiscuous bool
	// Await opens a Source also where interfaces can't be captured on, yet:
	// Lost names them, and Reopen tries them again.
	Await bool
}

// Errors that Open wraps, each with its remedy in words.
var (
	ErrPermission  = errors.New("no permission to capture: run as root, or give the program the right once: setcap cap_net_raw+ep $(which keepscope); in Kubernetes add NET_RAW to the container's securityContext.capabilities.add")
	ErrNoInterface = errors.New("no such interface: 'keepscope interfaces' lists them")
	ErrDown        = errors.New("the interface is down: bring it up (ip link set dev NAME up)")
	ErrGone        = errors.New("the interface disappeared")
)

// An InterfaceError is the failure of one interface.
type InterfaceError struct {
	Index int // in Config.Interfaces
	Name  string
	Err   error
}

func (e *InterfaceError) Error() string { return "capture on " + e.Name + ": " + e.Err.Error() }
func (e *InterfaceError) Unwrap() error { return e.Err }

// A Source captures on one or several interfaces. It is a sniffer.Source; its
// methods are for one goroutine, but for Drops.
type Source struct {
	cfg     Config
	handles []*C.pcap_t // nil where the interface is lost
	spare   []*C.pcap_t // of a lost interface that was open once
	links   []sniffer.LinkType
	drops   []drops
	frames  []C.struct_ks_frame
	from    C.int
	waiting bool // the last Read found no frame
	counted time.Time
	closed  bool
}

// Open starts capturing. The interfaces' frames are from then on kept in the
// kernel's rings until they are read. An error is an *InterfaceError unless it
// is about the Config.
func Open(cfg Config) (*Source, error) {
	if n := len(cfg.Interfaces); n == 0 || n > MaxInterfaces {
		return nil, fmt.Errorf("capture on %d interfaces: 1 to %d can be named", n, MaxInterfaces)
	}
	if cfg.Snaplen == 0 {
		cfg.Snaplen = DefaultSnaplen
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	if cfg.Snaplen < 64 || cfg.Snaplen > MaxSnaplen {
		return nil, fmt.Errorf("a snaplen of %d: it takes 64 to %d", cfg.Snaplen, MaxSnaplen)
	}
	n := len(cfg.Interfaces)
	s := &Source{
		cfg: cfg, frames: make([]C.struct_ks_frame, sniffer.BatchFrames), handles: make([]*C.pcap_t, n),
		spare: make([]*C.pcap_t, n), links: make([]sniffer.LinkType, n), drops: make([]drops, n),
	}
	for i := range cfg.Interfaces {
		if err := s.Reopen(i); err != nil && !cfg.Await {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Lost says whether the i-th interface is not captured on.
func (s *Source) Lost(i int) bool { return s.handles[i] == nil }

// Reopen tries again to capture on the i-th interface. One that was open once
// needs no right to be captured on again, even if it is a new one of the old
// name.
func (s *Source) Reopen(i int) error {
	if s.handles[i] != nil {
		return nil
	}
	name := s.cfg.Interfaces[i]
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	if h := s.spare[i]; h != nil {
		if e := C.ks_rebind(h, cname); e != 0 {
			return &InterfaceError{i, name, bindError(syscall.Errno(e))}
		}
		s.handles[i], s.spare[i] = h, nil
		return nil
	}
	h, err := s.activate(cname)
	if err != nil {
		return &InterfaceError{i, name, err}
	}
	halveLoopback(h, name)
	s.handles[i] = h
	s.links[i] = linkType(int(C.pcap_datalink(h)))
	return nil
}

func bindError(e syscall.Errno) error {
	switch e {
	case syscall.ENODEV, syscall.ENXIO:
		return ErrNoInterface
	case syscall.ENETDOWN:
		return ErrDown
	}
	return e
}

// activate opens an interface.
func (s *Source) activate(name *C.char) (*C.pcap_t, error) {
	var msg [C.PCAP_ERRBUF_SIZE]C.char
	h := C.pcap_create(name, &msg[0])
	if h == nil {
		return nil, errors.New(C.GoString(&msg[0]))
	}
	if err := s.configure(h); err != nil {
		C.pcap_close(h)
		return nil, err
	}
	return h, nil
}

// halveLoopback has the kernel pass on each packet of a loopback interface once.
// Libpcap takes out the outgoing copies, too, but only after they have been
// copied to the ring, and counted where they did not fit. It is no loss where
// the kernel (before 4.20) can't.
func halveLoopback(h *C.pcap_t, name string) {
	if i, err := net.InterfaceByName(name); err == nil && i.Flags&net.FlagLoopback != 0 {
		_ = unix.SetsockoptInt(int(C.pcap_fileno(h)), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
}

func (s *Source) configure(h *C.pcap_t) error {
	promisc := C.int(0)
	if s.cfg.Promiscuous {
		promisc = 1
	}
	C.pcap_set_promisc(h, promisc)
	C.pcap_set_snaplen(h, C.int(s.cfg.Snaplen))
	C.pcap_set_buffer_size(h, C.int(s.cfg.Buffer))
	C.pcap_set_timeout(h, C.int(hold/time.Millisecond))
	if C.pcap_set_tstamp_precision(h, C.PCAP_TSTAMP_PRECISION_NANO) != 0 {
		return errors.New("libpcap gives no nanosecond timestamps here")
	}
	if status := C.pcap_activate(h); status < 0 {
		return activateError(h, status)
	}
	// "any" tells the interface of each frame in the second cooked format only.
	if C.pcap_datalink(h) == C.DLT_LINUX_SLL {
		C.pcap_set_datalink(h, C.DLT_LINUX_SLL2)
	}
	var msg [C.PCAP_ERRBUF_SIZE]C.char
	if C.pcap_setnonblock(h, 1, &msg[0]) != 0 {
		return errors.New(C.GoString(&msg[0]))
	}
	return s.filter(h)
}

// filter has the kernel drop what the filter does not match.
func (s *Source) filter(h *C.pcap_t) error {
	if s.cfg.Filter == "" {
		return nil
	}
	expr := s.cfg.Filter
	if s.cfg.Tagged && C.pcap_datalink(h) == C.DLT_EN10MB && !strings.Contains(expr, "vlan") {
		expr = tagged(expr)
	}
	text := C.CString(expr)
	defer C.free(unsafe.Pointer(text))
	var prog C.struct_bpf_program
	if C.pcap_compile(h, &prog, text, 1, C.PCAP_NETMASK_UNKNOWN) != 0 {
		return &FilterError{s.cfg.Filter, C.GoString(C.pcap_geterr(h))}
	}
	defer C.pcap_freecode(&prog)
	if C.pcap_setfilter(h, &prog) != 0 {
		return &FilterError{s.cfg.Filter, C.GoString(C.pcap_geterr(h))}
	}
	return nil
}

// tagged is a filter that also looks behind VLAN tags. In the language of
// pcap-filter, "vlan" moves all that follows it behind the tag, parentheses
// notwithstanding; so the untagged case comes first.
func tagged(expr string) string {
	return fmt.Sprintf("(%s) or (vlan and ((%[1]s) or (vlan and (%[1]s))))", expr)
}

// A FilterError is a filter that libpcap does not accept.
type FilterError struct{ Filter, Why string }

func (e *FilterError) Error() string { return fmt.Sprintf("filter %q: %s", e.Filter, e.Why) }

// activateError turns what pcap_activate said into words with a remedy.
func activateError(h *C.pcap_t, status C.int) error {
	switch status {
	case C.PCAP_ERROR_PERM_DENIED, C.PCAP_ERROR_PROMISC_PERM_DENIED:
		return ErrPermission
	case C.PCAP_ERROR_NO_SUCH_DEVICE:
		return ErrNoInterface
	case C.PCAP_ERROR_IFACE_NOT_UP:
		return ErrDown
	}
	return fmt.Errorf("%s: %s", C.GoString(C.pcap_statustostr(status)), C.GoString(C.pcap_geterr(h)))
}

// linkType returns the LINKTYPE_ value of libpcap's DLT_ value, which differ on
// Linux only for raw IP.
func linkType(dlt int) sniffer.LinkType {
	if dlt == C.DLT_RAW {
		return sniffer.LinkRaw
	}
	return sniffer.LinkType(dlt)
}

// Read implements sniffer.Source: it returns what is there, or after a short
// wait no frames. An *InterfaceError means that an interface is lost, with the
// frames that were read before; Read goes on with the others.
func (s *Source) Read(b *sniffer.Batch) error {
	if len(b.Buffer) < batchBuffer {
		b.Buffer = make([]byte, batchBuffer)
	}
	count, failed := s.fill(b)
	s.deliver(b, count)
	if now := time.Now(); now.Sub(s.counted) >= countEvery {
		s.counted = now
		s.count()
	}
	if failed < 0 {
		return nil
	}
	err := &InterfaceError{failed, s.cfg.Interfaces[failed], readError(C.GoString(C.pcap_geterr(s.handles[failed])))}
	s.handles[failed], s.spare[failed] = nil, s.handles[failed]
	return err
}

// readError makes libpcap's words for a lost interface comparable.
func readError(text string) error {
	if strings.Contains(text, "disappeared") || strings.Contains(text, "went down") {
		return ErrGone
	}
	return errors.New(text)
}

// deliver hands over what fill found.
func (s *Source) deliver(b *sniffer.Batch, count int) {
	b.Frames, b.Now = b.Frames[:0], 0
	for i := range s.frames[:count] {
		f := &s.frames[i]
		b.Frames = append(b.Frames, sniffer.Frame{
			Time: int64(f.time), Data: b.Buffer[f.offset : f.offset+f.caplen : f.offset+f.caplen],
			Length: uint32(f.len), Interface: uint32(f.iface), Link: s.links[f.iface],
		})
	}
	if count == 0 && s.waiting {
		// Nothing came during two whole waits, each longer than the kernel
		// holds a frame back.
		b.Now = time.Now().Add(-2 * wait).UnixNano()
	}
	s.waiting = count == 0
}

// Interfaces returns the names, in the order of Frame.Interface.
func (s *Source) Interfaces() []string { return s.cfg.Interfaces }

// Links returns the interfaces' link types, 0 where one was never open.
func (s *Source) Links() []sniffer.LinkType { return s.links }

// A Drops counts what was lost before it could be read, since Open.
type Drops struct {
	Kernel    uint64 // the ring was full
	Interface uint64 // the network interface or its driver
}

// drops are the counts as they were read last.
type drops struct {
	kernel, iface atomic.Uint64
	// libpcap's counts have 32 bits and begin again at 0 after the largest.
	lastKernel, lastIface uint32
}

// count reads the drops.
func (s *Source) count() {
	for i, h := range s.handles {
		var st C.struct_pcap_stat
		if h == nil || C.pcap_stats(h, &st) != 0 {
			continue
		}
		d := &s.drops[i]
		kernel, iface := uint32(st.ps_drop), uint32(st.ps_ifdrop)
		d.kernel.Add(uint64(kernel - d.lastKernel))
		d.iface.Add(uint64(iface - d.lastIface))
		d.lastKernel, d.lastIface = kernel, iface
	}
}

// Drops returns the counts of the i-th interface, at most a second old (exact
// after Close). It may be called from any goroutine.
func (s *Source) Drops(i int) Drops {
	return Drops{Kernel: s.drops[i].kernel.Load(), Interface: s.drops[i].iface.Load()}
}

// Close stops capturing. It must not run at the same time as Read.
func (s *Source) Close() {
	if s.closed {
		return
	}
	s.closed = true
	s.count()
	for i, h := range s.handles {
		for _, h := range []*C.pcap_t{h, s.spare[i]} {
			if h != nil {
				C.pcap_close(h)
			}
		}
		s.handles[i], s.spare[i] = nil, nil
	}
}
