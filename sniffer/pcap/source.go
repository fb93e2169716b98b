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
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/keepscope/keepscope/sniffer"
)

// The defaults of a Config.
const (
	DefaultBuffer  = 64 << 20
	DefaultSnaplen = 2048
	// maxInterfaces bounds Config.Interfaces.
	maxInterfaces = 64
	// wait is how long Read waits for a first frame.
	wait = 100 * time.Millisecond
)

// A Config says what to capture. Only Interfaces must be set.
type Config struct {
	Interfaces []string // names, or "any"; at most 64
	Filter     string   // a filter in the language of pcap-filter(7); empty captures everything
	Snaplen    int      // bytes kept of a frame (default DefaultSnaplen)
	Buffer     int      // bytes of the kernel's ring for each interface (default DefaultBuffer)
	// Promiscuous asks for frames that are not this host's.
	Promiscuous bool
}

// Errors that Open wraps, each with its remedy in words.
var (
	ErrPermission  = errors.New("no permission to capture: run as root, or give the program the right once: setcap cap_net_raw+ep $(which keepscope); in Kubernetes add NET_RAW to the container's securityContext.capabilities.add")
	ErrNoInterface = errors.New("no such interface: 'keepscope interfaces' lists them")
	ErrDown        = errors.New("the interface is down: bring it up, e.g. ip link set dev NAME up")
)

// A Source captures on one or several interfaces. It is a sniffer.Source.
type Source struct {
	cfg     Config
	handles []*C.pcap_t
	links   []sniffer.LinkType
	frames  []C.struct_ks_frame
	from    C.int
	waiting bool // the last Read found no frame

	cut    atomic.Uint64
	closed bool
}

// Open starts capturing. The interfaces' frames are from then on kept in the
// kernel's rings until they are read.
func Open(cfg Config) (*Source, error) {
	if len(cfg.Interfaces) == 0 || len(cfg.Interfaces) > maxInterfaces {
		return nil, fmt.Errorf("capture on %d interfaces: 1 to %d can be named", len(cfg.Interfaces), maxInterfaces)
	}
	if cfg.Snaplen == 0 {
		cfg.Snaplen = DefaultSnaplen
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	s := &Source{cfg: cfg, frames: make([]C.struct_ks_frame, sniffer.BatchFrames)}
	for _, name := range cfg.Interfaces {
		if err := s.open(name); err != nil {
			s.Close()
			return nil, fmt.Errorf("capture on %s: %w", name, err)
		}
	}
	return s, nil
}

// open adds one interface.
func (s *Source) open(name string) error {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var msg [C.PCAP_ERRBUF_SIZE]C.char
	h := C.pcap_create(cname, &msg[0])
	if h == nil {
		return errors.New(C.GoString(&msg[0]))
	}
	s.handles = append(s.handles, h)
	promisc := C.int(0)
	if s.cfg.Promiscuous {
		promisc = 1
	}
	C.pcap_set_promisc(h, promisc)
	C.pcap_set_snaplen(h, C.int(s.cfg.Snaplen))
	C.pcap_set_buffer_size(h, C.int(s.cfg.Buffer))
	C.pcap_set_timeout(h, C.int(wait/2/time.Millisecond))
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
	if C.pcap_setnonblock(h, 1, &msg[0]) != 0 {
		return errors.New(C.GoString(&msg[0]))
	}
	s.links = append(s.links, linkType(int(C.pcap_datalink(h))))
	return s.filter(h)
}

// filter has the kernel drop what the filter does not match.
func (s *Source) filter(h *C.pcap_t) error {
	if s.cfg.Filter == "" {
		return nil
	}
	text := C.CString(s.cfg.Filter)
	defer C.free(unsafe.Pointer(text))
	var prog C.struct_bpf_program
	if C.pcap_compile(h, &prog, text, 1, C.PCAP_NETMASK_UNKNOWN) != 0 {
		return fmt.Errorf("filter %q: %s", s.cfg.Filter, C.GoString(C.pcap_geterr(h)))
	}
	defer C.pcap_freecode(&prog)
	if C.pcap_setfilter(h, &prog) != 0 {
		return fmt.Errorf("filter %q: %s", s.cfg.Filter, C.GoString(C.pcap_geterr(h)))
	}
	return nil
}

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
		return 101
	}
	return sniffer.LinkType(dlt)
}

// Read implements sniffer.Source: it returns what is there, or after a short
// wait no frames. An error means that an interface can't be read any more.
func (s *Source) Read(b *sniffer.Batch) error {
	if need := sniffer.BatchFrames * s.cfg.Snaplen; len(b.Buffer) < need {
		b.Buffer = make([]byte, need)
	}
	c := C.struct_ks_batch{max_frames: C.uint32_t(len(s.frames)), size: C.uint32_t(len(b.Buffer))}
	var failed, status C.int
	b.Frames = b.Frames[:0]
	b.Now = 0
	if fill(s, b, &c, &failed, &status) < 0 {
		return fmt.Errorf("capture on %s: %s", s.cfg.Interfaces[failed], C.GoString(C.pcap_geterr(s.handles[failed])))
	}
	if c.cut > 0 {
		s.cut.Add(uint64(c.cut))
	}
	for i := range s.frames[:c.count] {
		f := &s.frames[i]
		b.Frames = append(b.Frames, sniffer.Frame{
			Time: int64(f.time), Data: b.Buffer[f.offset : f.offset+f.caplen : f.offset+f.caplen],
			Length: uint32(f.len), Interface: uint32(f.iface), Link: s.links[f.iface],
		})
	}
	if c.count == 0 && s.waiting {
		// Nothing came during two whole waits, each longer than the kernel
		// holds a frame back.
		b.Now = time.Now().Add(-2 * wait).UnixNano()
	}
	s.waiting = c.count == 0
	return nil
}

// Interfaces returns the names, in the order of Frame.Interface.
func (s *Source) Interfaces() []string { return s.cfg.Interfaces }

// Links returns the interfaces' link types.
func (s *Source) Links() []sniffer.LinkType { return s.links }

// A Drops counts what was lost before it could be read, since Open.
type Drops struct {
	Kernel    uint64 // the ring was full
	Interface uint64 // the network interface or its driver
}

// Drops returns the counts of the i-th interface.
func (s *Source) Drops(i int) Drops {
	var st C.struct_pcap_stat
	if s.closed || C.pcap_stats(s.handles[i], &st) != 0 {
		return Drops{}
	}
	return Drops{Kernel: uint64(st.ps_drop), Interface: uint64(st.ps_ifdrop)}
}

// Close stops capturing. It must not run at the same time as Read.
func (s *Source) Close() {
	if s.closed {
		return
	}
	s.closed = true
	for _, h := range s.handles {
		C.pcap_close(h)
	}
}
