package fact

import "github.com/keepscope/keepscope/analyzer/http"

// A Trace is what a drawing of a connection needs beside its Connection. Moments are
// Unix nanoseconds, Absent where they were not seen; frames are numbers of frames of
// the capture, 0 where they are not known.
type Trace struct {
	Frame      uint32 // of the first packet
	SYN        int64
	SYNACK     int64
	ACK        int64
	Hello      int64     // ClientHello of the first layer of TLS
	Secured    int64     // from when the client could send its request over it
	Advertised int64     // when the server first said Keep-Alive: timeout or max
	Closings   [2]Shut   // the first of each side
	Probes     [2]Probed // TCP keep-alive probes of each side

	Retransmissions uint8 // segments of data that brought nothing new, up to 255

	// Exchanges are in the order in which they ended: the first and the newest, as many
	// as there is room for. More were left out between the two halves of a full list.
	Exchanges []Traced
	More      uint32
}

// A Shut is how a side closed.
type Shut struct {
	At    int64
	With  ClosedWith
	Frame uint32
}

// Probed says when a side sent keep-alive probes (RFC 9293 §3.8.4).
type Probed struct {
	Count       uint32
	First, Last int64
	Interval    int64 // median; Absent below two
}

// A Traced is an exchange.
type Traced struct {
	Start, FirstByte, End int64 // Absent where they were not seen
	Idle                  int64 // as Exchange.Idle
	Stream                http.Stream
	Index                 uint32
	Frames                [3]uint32 // that carried Start, FirstByte and End
	Status                uint16
	Method                http.Method
	Version               http.Version
	Outcome               Outcome
	Failure               Failure
	Reuse                 Reuse
	Interim               uint8 // responses of 1xx before the final one, up to 255
	Estimated             bool  // from encrypted records: Method and Status are not known
}
