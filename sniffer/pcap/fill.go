package pcap

// #include "batch.h"
import "C"

import (
	"runtime"
	"time"
	"unsafe"

	"github.com/keepscope/keepscope/sniffer"
)

// fill makes the one call into C of a Read. The batch's memory is Go's, pinned
// for the call.
func fill(s *Source, b *sniffer.Batch, c *C.struct_ks_batch, failed, status *C.int) C.int {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&s.frames[0])
	pin.Pin(&b.Buffer[0])
	c.frames = &s.frames[0]
	c.buffer = (*C.uint8_t)(unsafe.Pointer(&b.Buffer[0]))
	return C.ks_read(&s.handles[0], C.int(len(s.handles)), &s.from, C.int(wait/time.Millisecond), c, failed, status)
}
