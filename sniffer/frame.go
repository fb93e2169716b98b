package sniffer

// BatchFrames is how many frames a Batch holds at most.
const BatchFrames = 512

// A LinkType says how a frame begins: a LINKTYPE_ value of the capture file
// formats (1 is Ethernet).
type LinkType uint16

// A Frame is one captured packet as it came from the link layer.
type Frame struct {
	Time      int64    // Unix nanoseconds, from the capture
	Data      []byte   // the captured bytes, a view of the batch's buffer
	Length    uint32   // bytes on the wire, at least len(Data)
	Interface uint32   // which interface of the source, from 0
	Link      LinkType // of that interface
	Number    uint32   // place in its file, from 1, as Wireshark counts; 0 where it is of none
}

// A Batch is a run of frames in the order of capture. Its frames are valid
// until the batch is given to a Source again.
type Batch struct {
	Frames []Frame // at most BatchFrames
	Buffer []byte  // what Frames view; the Source owns its size and content
	// Now, from a live source, is a time up to which no frame is still to
	// come, so that time moves on on a silent wire too. It is 0 otherwise.
	Now int64
}

// A Source yields frames. Read replaces the content of b by the next frames
// (none, where a live source waited in vain);
// at the end it returns io.EOF with no frames. Any other error comes after
// what was read before it has been returned, and names the source.
type Source interface {
	Read(b *Batch) error
}
