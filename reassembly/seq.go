package reassembly

// Sequence numbers are compared by the sign of their 32-bit difference
// (RFC 9293 §3.4), so that every wrap is like any other place.

// diff returns a - b.
func diff(a, b uint32) int32 { return int32(a - b) }

// after reports whether a comes after b.
func after(a, b uint32) bool { return int32(a-b) > 0 }
