// Package http2 finds the exchanges of an HTTP/2 connection (RFC 9113) in its bytes: it
// takes bytes and gaps of both directions, and tells the events of package http. It has
// no IO, no clock and no TCP.
//
// A Conn reads frames in place, however segments cut them. Of frames it reads HEADERS
// with CONTINUATION, as one header block, RST_STREAM, SETTINGS, GOAWAY, PING and PUSH_PROMISE; DATA
// is skipped by arithmetic, as all others are. Of header blocks (RFC 7541) it reads the fields
// that [http.Head] has, and grpc-status; other values are not even decoded, unless their length
// must be known.
//
// # Streams
//
// A request is the client's HEADERS with an id above all before it (RFC 9113 §5.1.1); others of
// the client are trailers. A response is the server's HEADERS with :status, up to the first final
// one; others are trailers. Streams of even ids are pushed, and no exchange. A stream that is
// over is forgotten: what comes on it later, such as a second RST_STREAM, is not told.
//
// # HPACK
//
// Of an entry of the dynamic table its size is kept, which name it is, and the value of a name
// that is read. User-Agent, Server and Via are told of every message. The encoder alone moves its table's size: SETTINGS_HEADER_TABLE_SIZE
// limits it, and where the limit is lowered the encoder has to say the new size in its next block
// (RFC 7541 §4.2). So the setting is not needed to read blocks, nor is its acknowledgement.
//
// # Loss
//
// A gap within a payload that is skipped loses nothing. One within a header block's frame
// loses the rest of the block, and of SETTINGS, RST_STREAM or GOAWAY that frame, but not where the
// next frame begins. After any other, and after what is no frame, nothing is read up to a segment
// that begins with frames which agree (see [Recognise]). From a header block that was lost, or
// that may have been, the direction's table is not trusted: of later blocks fields of the
// static table and literal ones are read, and Partial says that others were not. A size update to
// 0 empties the table, whatever was in it: from there on it is known again.
//
// A request whose head was lost is known by its stream: an id between the last before a loss of
// the client's bytes and the first after it, on which the server answers, or resets, or
// either sends data. It is told by Lost when the client opens a later stream, or closes, for
// its bytes may come after the server's answer. Ids that were skipped are no requests.
//
// # Caps
//
//	what                                   cap               default  when full
//	a header block                         MaxBlock          64 KiB   fields of its beginning only, table not trusted; Stats.Blocks
//	tables and cut blocks, of all Conns    Pool.Max          16 MiB   names unknown, counts go on; Stats.Tables, Stats.Blocks
//	memory of one table                    fixed             128 KiB  as above; Stats.Tables
//	open streams of a connection           fixed             1024     the oldest is not followed any more; Stats.Streams
//	open streams of all Conns              Pool.MaxStreams   16 MiB   as above; Stats.Streams
//	a frame's payload                      as announced      16 KiB   Lost; Stats.Frames
//	a value that is read                   fixed             512      its first 512 bytes are read, of Via nothing
//	User-Agent, Server, and Via's end      http.MaxName      160      what is beyond is left out
//	an integer of HPACK                    fixed             9 bytes  table not trusted, Lost
//	losses of the client that are known    fixed             4        requests lost in older ones are not counted
//	frames that Recognise looks at         fixed             8
//	spare tables, blocks, lists of a size  fixed             64       given to the garbage collector
//
// A stream that is not followed, or no longer, is Unanswered. What comes on it later is still told by
// Response and End, so that it is counted, but not by Reset: a second one could not be told from
// the first.
//
// # Cost
//
// A Conn has 240 bytes. After 100 calls of grpc-go its tables hold 416 more, its list of streams 64.
// Each frame costs constant time, but for the walk through a header block's bytes, and for the
// list of open streams, of which one that ends moves at most 8 KiB. Nothing is allocated once a
// Pool has memory. By BenchmarkExchange an exchange as of h2load with nginx, frames and all, takes
// less than half the CPU time that x/net's decoder takes for its two header blocks alone (1 000 000 of each on
// one busy machine).
package http2

const (
	// MaxBlock is the longest header block of which all is read, in bytes.
	MaxBlock = 64 << 10

	// DefaultMax is the most bytes that a Pool holds for tables and blocks where Max is 0,
	// and for open streams where MaxStreams is.
	DefaultMax = 16 << 20

	maxTable   = 128 << 10 // memory of one table
	maxStreams = 1024      // that are followed, of one connection
)
