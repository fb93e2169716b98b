package pcap

// #include "batch.h"
import "C"

import (
	"runtime"
	"time"
	"unsafe"

	"github.com/keepscope/keepscope/sniffer"
)

// fill makes the one call into C of a Read: it returns how many frames it
// found, and the interface that failed or -1. The batch's memory is Go's,
// pinned for the call.
func (s *Source) fill(b *sniffer.Batch) (count, failed int) {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&s.frames[0])
	pin.Pin(&b.Buffer[0])
	c := C.struct_ks_batch{
		frames:     &s.frames[0],
		buffer:     (*C.uint8_t)(unsafe.Pointer(&b.Buffer[0])),
		max_frames: C.uint32_t(len(s.frames)),
		size:       C.uint32_t(len(b.Buffer)),
		snaplen:    C.uint32_t(s.cfg.Snaplen),
	}
	var which C.int
	failed = -1
	if C.ks_read(&s.handles[0], C.int(len(s.handles)), &s.from, C.int(wait/time.Millisecond), &c, &which) < 0 {
		failed = int(which)
	}
	return int(c.count), failed
}
