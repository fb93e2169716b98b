package pcap

/*
#cgo linux LDFLAGS: -lpcap
#include <stdlib.h>
#include <pcap/pcap.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
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
	wait = 250 * time.Millisecond
	// hold is how long the kernel holds frames back to hand over many at once.
	hold = 50 * time.Millisecond
	// countEvery is how often the drops are read, and lost interfaces looked for.
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
	// Copy copies frames out of the ring, for a reader that holds several batches at
	// once: each would keep the kernel from a block of the ring, until there is none
	// left to fill.
	Copy bool
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
	ErrChanged     = errors.New("the interface came back as one of another kind: start keepscope again")
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
	rings   []*ring // nil where the interface is lost
	spare   []*ring // of a lost interface that was open once
	links   []sniffer.LinkType
	drops   []drops
	from    int      // the ring to begin with, so that a busy one starves no other
	epoll   *os.File // waits for all rings
	epollFD int
	conn    syscall.RawConn    // epoll's
	batch   *sniffer.Batch     // for filled
	filled  func(uintptr) bool // fills batch and says whether there was something
	waiting bool               // the last Read found no frame
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
		cfg: cfg, rings: make([]*ring, n), spare: make([]*ring, n),
		links: make([]sniffer.LinkType, n), drops: make([]drops, n),
	}
	if err := s.openEpoll(); err != nil {
		return nil, fmt.Errorf("wait for several sockets: %w", err)
	}
	for i := range cfg.Interfaces {
		if err := s.Reopen(i); err != nil && !cfg.Await {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// openEpoll prepares to wait for all rings. The runtime does the waiting, so
// that no thread is blocked in a call: for such a one the runtime's monitor
// wakes thousands of times a second.
func (s *Source) openEpoll() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or the runtime would not
		_ = unix.Close(fd)
		return err
	}
	s.epoll, s.epollFD = os.NewFile(uintptr(fd), "epoll"), fd
	s.filled = func(uintptr) bool { return s.fill(s.batch) }
	if s.conn, err = s.epoll.SyscallConn(); err != nil {
		return err
	}
	return s.epoll.SetReadDeadline(time.Time{}) // an error where it can't wait
}

// Lost says whether the i-th interface is not captured on.
func (s *Source) Lost(i int) bool { return s.rings[i] == nil }

// Reopen tries again to capture on the i-th interface. One that was open once
// needs no right to be captured on again, even if it is a new one of the old
// name.
func (s *Source) Reopen(i int) error {
	if s.rings[i] != nil {
		return nil
	}
	name := s.cfg.Interfaces[i]
	if r := s.spare[i]; r != nil {
		found, err := net.InterfaceByName(name)
		if err != nil {
			return &InterfaceError{i, name, ErrNoInterface}
		}
		if hardware(name) != r.hardware {
			return &InterfaceError{i, name, ErrChanged}
		}
		if err := r.rebind(found.Index, s.cfg.Promiscuous); err != nil {
			return &InterfaceError{i, name, bindError(err)}
		}
		s.rings[i], s.spare[i] = r, nil
		return nil
	}
	r, link, err := s.open(name)
	if err != nil {
		return &InterfaceError{i, name, err}
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN}
	if err := unix.EpollCtl(s.epollFD, unix.EPOLL_CTL_ADD, r.fd, &event); err != nil {
		r.close()
		return &InterfaceError{i, name, err}
	}
	s.rings[i], s.links[i] = r, link
	return nil
}

func bindError(err error) error {
	switch {
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return ErrNoInterface
	case errors.Is(err, syscall.ENETDOWN):
		return ErrDown
	}
	return err
}

// open has libpcap open an interface, takes over its socket and gives that a
// ring of our own.
func (s *Source) open(name string) (*ring, sniffer.LinkType, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	h, err := s.activate(cname)
	if err != nil {
		return nil, 0, err
	}
	fd, err := unix.FcntlInt(uintptr(C.pcap_fileno(h)), unix.F_DUPFD_CLOEXEC, 0)
	link := linkType(int(C.pcap_datalink(h)))
	C.pcap_close(h) // unmaps the ring that it made
	if err != nil {
		return nil, 0, err
	}
	r, err := newRing(fd, s.cfg.Buffer, s.cfg.Snaplen)
	if err != nil {
		return nil, 0, err
	}
	r.cooked, r.tagged = link == sniffer.LinkSLL2, link == sniffer.LinkEthernet
	r.hardware = hardware(name)
	halveLoopback(r, name)
	return r, link, nil
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

// halveLoopback has each packet of a loopback interface come once. It is best
// left out by the kernel, which on "any", and before Linux 4.20, can't.
func halveLoopback(r *ring, name string) {
	all, err := net.Interfaces()
	if err != nil {
		return
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 || name != i.Name && name != "any" {
			continue
		}
		r.lo = int32(i.Index)
		if name == i.Name {
			_ = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) // else ring.read leaves them out
		}
	}
}

func (s *Source) configure(h *C.pcap_t) error {
	promisc := C.int(0)
	if s.cfg.Promiscuous {
		promisc = 1
	}
	C.pcap_set_promisc(h, promisc)
	C.pcap_set_snaplen(h, C.int(s.cfg.Snaplen))
	C.pcap_set_buffer_size(h, 1) // its ring is not used
	if status := C.pcap_activate(h); status < 0 {
		return activateError(h, status)
	}
	// "any" tells the interface of each frame in the second cooked format only.
	if C.pcap_datalink(h) == C.DLT_LINUX_SLL {
		C.pcap_set_datalink(h, C.DLT_LINUX_SLL2)
	}
	return s.filter(h)
}

// filter has the kernel drop what the filter does not match, and cut the rest
// at the snaplen.
func (s *Source) filter(h *C.pcap_t) error {
	expr := s.cfg.Filter
	if s.cfg.Tagged && C.pcap_datalink(h) == C.DLT_EN10MB && expr != "" && !strings.Contains(expr, "vlan") {
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
	if !filtered(int(C.pcap_fileno(h))) { // libpcap would do it, then
		return &FilterError{s.cfg.Filter, "the kernel can't apply it"}
	}
	return nil
}

// filtered says whether the kernel has a filter for a socket.
func filtered(fd int) bool {
	instructions := uint32(0)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_GET_FILTER, 0, uintptr(unsafe.Pointer(&instructions)), 0)
	return errno == 0 && instructions > 0
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
// wait no frames. Without Config.Copy the frames are views of a ring: they are
// valid until the batch is given to Read again, or Close is called. An
// *InterfaceError means that an interface is lost, with the frames that were read
// before; Read goes on with the others.
func (s *Source) Read(b *sniffer.Batch) error {
	if !s.cfg.Copy {
		s.release(b)
		b.Buffer = nil
	}
	b.Frames, b.Now = b.Frames[:0], 0
	if !s.fill(b) {
		s.await(b)
	}
	now := time.Now()
	if len(b.Frames) == 0 && s.waiting {
		// Nothing came during two whole waits, each longer than the kernel
		// holds a frame back.
		b.Now = now.Add(-2 * wait).UnixNano()
	}
	s.waiting = len(b.Frames) == 0
	if !s.waiting && now.Sub(s.counted) < countEvery {
		return nil
	}
	if now.Sub(s.counted) >= countEvery {
		s.counted = now
		s.count()
	}
	return s.lookForLost()
}

// release gives back what the batch was filled with.
func (s *Source) release(b *sniffer.Batch) {
	if len(b.Buffer) == 0 {
		return
	}
	for i := range s.rings {
		for _, r := range [...]*ring{s.rings[i], s.spare[i]} {
			if r != nil && r.release(b.Buffer) {
				return
			}
		}
	}
}

// fill fills b from one ring, and says whether there was something.
func (s *Source) fill(b *sniffer.Batch) bool {
	n := len(s.rings)
	for k := range n {
		i := (s.from + k) % n
		own := b.Buffer
		if r := s.rings[i]; r != nil && r.read(b, uint32(i), s.links[i]) {
			if s.cfg.Copy {
				view := b.Buffer
				b.Buffer = copyFrames(b.Frames, own)
				r.release(view)
			}
			s.from = (i + 1) % n
			return true
		}
	}
	return false
}

// copyFrames moves frames into buffer, or a larger one, and returns that.
func copyFrames(frames []sniffer.Frame, buffer []byte) []byte {
	size := 0
	for i := range frames {
		size += len(frames[i].Data)
	}
	if size > len(buffer) {
		buffer = make([]byte, size)
	}
	used := 0
	for i := range frames {
		f := &frames[i]
		n := copy(buffer[used:], f.Data)
		f.Data = buffer[used : used+n : used+n]
		used += n
	}
	return buffer
}

// await fills b once there is something, or waits in vain.
func (s *Source) await(b *sniffer.Batch) {
	s.batch = b
	// The errors are that of the time and those of a closed file.
	_ = s.epoll.SetReadDeadline(time.Now().Add(wait))
	_ = s.conn.Read(s.filled)
	s.batch = nil
}

// lookForLost returns the error of the first interface that is lost.
func (s *Source) lookForLost() error {
	for i, r := range s.rings {
		if r == nil {
			continue
		}
		if err := r.lost(); err != nil {
			s.rings[i], s.spare[i] = nil, r
			return &InterfaceError{i, s.cfg.Interfaces[i], err}
		}
	}
	return nil
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
	last          uint64 // what the interface's own count was
	begun         bool   // and whether it is known
}

// count reads the drops.
func (s *Source) count() {
	for i, r := range s.rings {
		if r == nil {
			continue
		}
		d := &s.drops[i]
		// The kernel counts from the last time that it was asked.
		if st, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			d.kernel.Add(uint64(st.Drops))
		}
		n := interfaceDrops(s.cfg.Interfaces[i])
		if d.begun && n > d.last { // a new interface begins at 0
			d.iface.Add(n - d.last)
		}
		d.begun, d.last = true, n
	}
}

// hardware is the kernel's number for what kind of interface it is, empty for "any".
func hardware(name string) string {
	text, err := os.ReadFile("/sys/class/net/" + name + "/type")
	if err != nil {
		return ""
	}
	return string(text)
}

// interfaceDrops is what an interface or its driver had no room for, since it
// is there.
func interfaceDrops(name string) (sum uint64) {
	for _, counter := range []string{"rx_missed_errors", "rx_fifo_errors"} {
		text, err := os.ReadFile("/sys/class/net/" + name + "/statistics/" + counter)
		if err != nil {
			return 0 // "any" has none
		}
		n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64) // the kernel writes numbers
		sum += n
	}
	return sum
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
	for i := range s.rings {
		for _, r := range [...]*ring{s.rings[i], s.spare[i]} {
			if r != nil {
				r.close()
			}
		}
		s.rings[i], s.spare[i] = nil, nil
	}
	_ = s.epoll.Close() // nothing was written
}
