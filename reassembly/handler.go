package reassembly

// A Dir is a direction of a connection: who sends. The client is who sent the
// SYN; where none was seen when the connection began, the side with the higher
// port. What it carries, or Conn.SYNByServer, may tell otherwise later; that is
// the Handler's to remember.
type Dir uint8

// The two directions, each named for its sender.
const (
	Client Dir = iota
	Server
)

// Other returns the opposite direction.
func (d Dir) Other() Dir { return d ^ 1 }

// String returns "client" or "server".
func (d Dir) String() string { return name([]string{"client", "server"}, d) }

// name returns the name of a value, "unknown" where it has none.
func name[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// An End says how a direction, or the whole connection, ended.
type End uint8

// The ends. EndFIN is told at its place in the order of bytes and EndReset when
// the RST is believed, at once or after a silence ([Conn.Closing] has its time);
// after either the connection goes on. EndClosed and the
// ones after it are the last word on a connection, told once, with dir Client,
// after both directions' remaining data and gaps.
const (
	EndFIN      End = iota // all bytes of dir up to its FIN were delivered
	EndReset               // dir sent a RST
	EndClosed              // both sides' FINs, or a RST, and no more to come
	EndReplaced            // a new connection took the 4-tuple while this one was open
	EndTimeout             // no packet for the idle limit
	EndEvicted             // the table was full
	EndCapture             // the capture ended
)

// String returns the end's name, such as "timeout".
func (e End) String() string {
	return name([]string{"fin", "reset", "closed", "replaced", "timeout", "evicted", "capture"}, e)
}

// A GapKind says why bytes were not delivered.
type GapKind uint8

// The kinds of gap.
const (
	Lost    GapKind = iota // never captured
	Cut                    // captured without their end: a snaplen
	Skipped                // passed over by a jump of more than 16 MiB: nobody knows whether they ever were
)

// String returns the kind's name, such as "lost".
func (k GapKind) String() string { return name([]string{"lost", "cut", "skipped"}, k) }

// A Handler receives what happens on connections: for each, Open first, with
// the facts of its first packet in place, and one last End. It must not call
// the Assembler's Process, Sweep or Flush.
type Handler interface {
	Open(c *Conn)

	// Data hands on the next bytes of a direction; payload is valid during the
	// call only.
	Data(c *Conn, dir Dir, payload []byte)

	// Gap says that the next n bytes, at least 1, will not come.
	Gap(c *Conn, dir Dir, n int64, kind GapKind)

	End(c *Conn, dir Dir, end End)
}

// An UnseenHandler is a Handler that wants to know at once when bytes were
// acknowledged that were not captured: something went on there that nobody saw.
// They may follow, where the capture swapped the two directions;
// [Conn.Behind] tells.
type UnseenHandler interface {
	Handler

	// Unseen says that the peer of dir acknowledged more of dir's bytes than
	// were captured, and more than before. One number may be a FIN's.
	Unseen(c *Conn, dir Dir)
}
