package main

import (
	"os"
	"runtime/debug"
)

// What a process takes of its memory limit beside the heap.
const (
	// limitShare is the part of the limit that is used at most: the rest is for
	// what the kernel counts for the process, as the buffers of its sockets.
	limitShare = 0.85
	// programSize is what is resident of the program itself, 30 MiB, the stacks of its
	// threads, what libpcap allocates and what the heap is beyond its limit for moments.
	programSize size = 40 << 20
	// minHeap is the least with which the collector is not always at work.
	minHeap size = 16 << 20
	// minMemoryLimit is the least limit, without rings.
	minMemoryLimit = 48 * size(1<<20)
)

// rings is the memory of the kernel's buffers.
func (f *liveFlags) rings() size { return f.BufferSize * size(max(len(f.Interface), 1)) }

// heapLimit is what a memory limit leaves for the heap.
func heapLimit(limit, rings size) size {
	return max(size(limitShare*float64(limit))-rings-programSize, minHeap)
}

// limitMemory has the collector keep the heap within the memory limit.
func (r *runCmd) limitMemory() {
	if r.MemoryLimit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(heapLimit(r.MemoryLimit, r.rings())))
	}
}
