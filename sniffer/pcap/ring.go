package pcap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/sniffer"
)

// A ring is the memory that the kernel shares with a capturing socket
// (TPACKET_V3: Documentation/networking/packet_mmap.rst in Linux). The kernel
// fills its blocks in turn, and hands over one that is full or has waited for
// hold. It has it back when it was read and no batch views it any more.
type ring struct {
	fd       int
	memory   []byte
	block    int   // bytes of a block
	views    []int // by block: the batches that view it, and the ring itself while it reads there
	next     int   // the block that is read, or will be next
	left     int   // its frames that are to be read
	offset   int   // where the first of them is
	snaplen  int
	cooked   bool   // frames come without a link layer, and get a header in its place
	tagged   bool   // frames are Ethernet's, into which the VLAN tag that the kernel took out belongs
	hardware string // what kind of interface it is: see hardware
	lo       int32  // index of a loopback interface that shows each packet twice, or 0
	missing  bool   // the interface was not there when last looked for
	touched  byte   // see touch
}

// The bounds of blocks. Large ones are handed over less often; each has room for
// the largest frame, and the kernel needs some to fill while others are read.
const (
	minBlock   = 128 << 10
	maxBlock   = 1 << 20
	minBlocks  = 2
	someBlocks = 16 // before they are larger than they must be
	// blockRoom is what is taken by the headers of a block and its first frame.
	blockRoom = 4 << 10
)

// blocks divides a ring of size bytes.
func blocks(size, snaplen int) (bytes, count int) {
	bytes = minBlock
	for bytes < snaplen+blockRoom || bytes < maxBlock && size >= 2*bytes*someBlocks {
		bytes *= 2
	}
	return bytes, max(size/bytes, minBlocks)
}

// newRing replaces the ring of a socket that captures, or will, by one of about
// size bytes. It owns the socket.
func newRing(fd, size, snaplen int) (*ring, error) {
	r := &ring{fd: fd, snaplen: snaplen}
	err := r.share(size)
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *ring) share(size int) error {
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{}); err != nil {
		return fmt.Errorf("free libpcap's ring: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("ask for a ring of blocks (TPACKET_V3): %w", err)
	}
	for {
		bytes, count := blocks(size, r.snaplen)
		err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size: uint32(bytes), Block_nr: uint32(count), Frame_size: uint32(bytes), Frame_nr: uint32(count),
			Retire_blk_tov: uint32(hold / time.Millisecond),
		})
		if errors.Is(err, unix.ENOMEM) && count > minBlocks {
			size /= 2
			continue
		}
		if err != nil {
			return fmt.Errorf("make a ring of %d bytes: %w", bytes*count, err)
		}
		r.block, r.views = bytes, make([]int, count)
		r.memory, err = unix.Mmap(r.fd, 0, bytes*count, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return fmt.Errorf("map a ring of %d bytes: %w", bytes*count, err)
		}
		// What had no room while there was no ring came before the capture. To ask
		// sets the count to 0.
		_, _ = unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		return nil
	}
}

func (r *ring) close() {
	if r.memory != nil {
		_ = unix.Munmap(r.memory) // it is ours and whole
	}
	_ = unix.Close(r.fd) // nothing was written
}

// header returns the header of a block.
func (r *ring) header(i int) *unix.TpacketHdrV1 {
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&r.memory[i*r.block+int(unsafe.Offsetof(unix.TpacketBlockDesc{}.Hdr))]))
}

// ready says whether there is a frame to read.
func (r *ring) ready() bool {
	for r.left == 0 {
		if r.views[r.next] > 0 { // read, and still viewed: all blocks are
			return false
		}
		h := r.header(r.next)
		if atomic.LoadUint32(&h.Block_status)&unix.TP_STATUS_USER == 0 {
			return false
		}
		r.views[r.next]++
		r.left, r.offset = int(h.Num_pkts), int(h.Offset_to_first_pkt)
		if r.left == 0 {
			r.advance()
		}
	}
	return true
}

// advance goes to the next block.
func (r *ring) advance() {
	r.done(r.next)
	r.next = (r.next + 1) % len(r.views)
}

// done takes back one view of a block, and with the last of them gives the
// block to the kernel.
func (r *ring) done(block int) {
	r.views[block]--
	if r.views[block] == 0 {
		atomic.StoreUint32(&r.header(block).Block_status, unix.TP_STATUS_KERNEL)
	}
}

// read fills b with frames of one block, as views of it, and says whether there
// were any. b.Buffer is that block.
func (r *ring) read(b *sniffer.Batch, index uint32, link sniffer.LinkType) bool {
	for len(b.Frames) == 0 && r.ready() {
		at := r.next * r.block
		block := r.memory[at : at+r.block : at+r.block]
		for ; r.left > 0 && len(b.Frames) < sniffer.BatchFrames; r.left-- {
			h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[r.offset]))
			if r.lo == 0 || !r.repeated(block) {
				data, length := r.frame(block, h)
				r.touched += touch(data)
				b.Frames = append(b.Frames, sniffer.Frame{
					Time: int64(h.Sec)*1e9 + int64(h.Nsec), Data: data, Length: length, Interface: index, Link: link,
				})
			}
			r.offset += int(h.Next_offset)
		}
		if len(b.Frames) > 0 {
			b.Buffer = block
			r.views[r.next]++
		}
		if r.left == 0 {
			r.advance()
		}
	}
	return len(b.Frames) > 0
}

// touch loads what of a frame will be looked at first: the headers and, in a
// frame that may begin a message, the first lines of it. The loads of all frames
// of a batch overlap; later each would wait for memory that another processor
// wrote. It takes a sixth off the cost of 1 KB exchanges (TestOverhead).
func touch(data []byte) byte {
	switch {
	case len(data) > 192:
		return data[64] + data[128] + data[192]
	case len(data) > 64:
		return data[64]
	}
	return 0
}

// frame returns the next frame, which has header h, and its length on the wire.
func (r *ring) frame(block []byte, h *unix.Tpacket3Hdr) (data []byte, length uint32) {
	begin, length := r.offset+int(h.Mac), h.Len
	end := begin + int(h.Snaplen)
	switch {
	case r.cooked:
		begin, length = r.cook(block, begin), length+sll2Length
	case r.tagged && h.Status&unix.TP_STATUS_VLAN_VALID != 0 && h.Snaplen >= vlanOffset:
		begin, length = putTag(block, begin, h), length+vlanLength
	}
	end = min(end, begin+r.snaplen)
	return block[begin:end:end], length
}

// release takes back a batch's view of a block; ours says whether it is one of
// this ring.
func (r *ring) release(buffer []byte) (ours bool) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(buffer))) - uintptr(unsafe.Pointer(unsafe.SliceData(r.memory)))
	if at >= uintptr(len(r.memory)) {
		return false
	}
	r.done(int(at) / r.block)
	return true
}

// address returns what the kernel says of the next frame beside its header.
func (r *ring) address(block []byte) *unix.RawSockaddrLinklayer {
	const after = (unix.SizeofTpacket3Hdr + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1)
	return (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&block[r.offset+after]))
}

// repeated says whether the next frame is a loopback interface's outgoing one,
// which comes in again.
func (r *ring) repeated(block []byte) bool {
	a := r.address(block)
	return a.Ifindex == r.lo && a.Pkttype == unix.PACKET_OUTGOING
}

// sll2Length is the header of LINKTYPE_LINUX_SLL2.
const sll2Length = 20

// cook writes the header before the packet that begins at begin; the kernel
// leaves room. It returns where the frame begins.
func (r *ring) cook(block []byte, begin int) int {
	a := r.address(block)
	begin -= sll2Length
	p := block[begin : begin+sll2Length]
	binary.NativeEndian.PutUint16(p[0:], a.Protocol) // in network order already
	binary.BigEndian.PutUint16(p[2:], 0)
	binary.BigEndian.PutUint32(p[4:], uint32(a.Ifindex))
	binary.BigEndian.PutUint16(p[8:], a.Hatype)
	p[10], p[11] = a.Pkttype, a.Halen
	copy(p[12:], a.Addr[:])
	return begin
}

const (
	vlanOffset = 12 // behind the two addresses
	vlanLength = 4
)

// putTag puts a VLAN tag back into a frame; the kernel leaves room before it.
// It returns where the frame begins.
func putTag(block []byte, begin int, h *unix.Tpacket3Hdr) int {
	tpid := uint16(unix.ETH_P_8021Q)
	if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = h.Hv1.Vlan_tpid
	}
	p := block[begin-vlanLength:]
	copy(p[:vlanOffset], p[vlanLength:])
	binary.BigEndian.PutUint16(p[vlanOffset:], tpid)
	binary.BigEndian.PutUint16(p[vlanOffset+2:], uint16(h.Hv1.Vlan_tci))
	return begin - vlanLength
}

// lost looks whether the interface has gone. It is told only when it is looked
// for the next time, for what came before may still wait to be read.
func (r *ring) lost() error {
	// An interface that is down is an error, too, until it is asked for.
	e, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if e != 0 && syscall.Errno(e) != unix.ENETDOWN {
		return syscall.Errno(e)
	}
	sa, err := unix.Getsockname(r.fd)
	if err != nil {
		return err
	}
	// The kernel unbinds the socket from what has gone.
	link, ok := sa.(*unix.SockaddrLinklayer)
	missing := ok && link.Ifindex < 0
	if missing && r.missing {
		return ErrGone
	}
	r.missing = missing
	return nil
}

// rebind binds the socket, and with it its ring and filter, to another
// interface.
func (r *ring) rebind(index int, promiscuous bool) error {
	if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}), Ifindex: index}); err != nil {
		return err
	}
	r.missing = false
	if promiscuous { // it was asked of the old interface
		all := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(r.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &all); err != nil {
			return err
		}
	}
	_, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR) // clears the loss of the old one
	return err
}
