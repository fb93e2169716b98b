package reassembly

// A Dir is a direction of a connection: who sends. The client is who sent the
// SYN; where none was seen, the side with the higher port (semantics may turn
// out otherwise; that is the Handler's to remember).
type Dir uint8

// The two directions, each named for its sender.
const (
	Client Dir = iota
	Server
)

// Other returns the opposite direction.
func (d Dir) Other() Dir { return d ^ 1 }

// An End says how a direction, or the whole connection, ended.
type End uint8

// The ends. EndFIN and EndReset are told at their place in the order of bytes
// and do not stop the connection from being tracked; EndClosed and the ones after it are the last word
// on a connection, told once, with dir Client, after both directions'
// remaining data and gaps.
const (
	EndFIN      End = iota // all bytes of dir up to its FIN were delivered
	EndReset               // dir sent a RST
	EndClosed              // both sides' FINs, or a RST, and no more to come
	EndReplaced            // a new connection took the 4-tuple while this one was open
	EndTimeout             // no packet for the idle limit
	EndEvicted             // the table was full
	EndCapture             // the capture ended
)

// A GapKind says why bytes were not delivered.
type GapKind uint8

// The kinds of gap.
const (
	Lost GapKind = iota // never captured
	Cut                 // captured without their end: a snaplen
)

// A Handler receives what happens on connections, in order of capture. Payload is valid
// during the call only.
type Handler interface {
	Open(c *Conn)
	Data(c *Conn, dir Dir, payload []byte)
	Gap(c *Conn, dir Dir, n int64, kind GapKind)
	End(c *Conn, dir Dir, end End)
}
