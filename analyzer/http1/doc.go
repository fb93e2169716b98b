package http1

const (
	// MaxHead is the longest head, from its start line to its empty line, and the
	// longest trailer section, in bytes.
	MaxHead = 256 << 10

	// DefaultPool is the most bytes that a Pool holds where Max is 0.
	DefaultPool = 16 << 20

	maxChunkLine = 16 << 10 // a chunk's size line, with its extensions
	maxMethod    = 64       // a method's token
)
