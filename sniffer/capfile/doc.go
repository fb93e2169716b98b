// Package capfile reads and writes capture files without libpcap.
//
// [Open] and [NewReader] tell by content, never by name: pcap of either byte
// order, with micro- or nanoseconds, also with the longer record headers of
// Kuznetzov's variant, and the versions before 2.4, which had a record's lengths
// the other way round; and pcapng with any number of sections and interfaces.
// Either may be compressed by gzip (several members) or zstd, and may come
// from a pipe. [Merge] joins several files into one timeline.
//
// # Batches
//
// A [File] reads into the buffer of the batch that it is given, and the frames
// are views of that buffer: nothing is copied but the piece of a record that
// the end of the buffer cut. That piece is kept by the File, so that a caller
// may alternate batches, one in work while the next is filled. A Read asks the
// system once, for about as many bytes as BatchFrames frames took of late, and
// delivers the frames which that completed; so a live pipe is never delayed.
//
// # Cost
//
// On 2.5 million packets, 1.6 GB, in CPU seconds of interleaved runs: 1.0 times
// a loop that only goes from one record header to the next (0.8 to 1.2), and
// 1.3 times cat to /dev/null. The buffer is 128 KiB because 64 KiB took 1.2
// times as long, 32 KiB 1.7 times, and 256 KiB no less. BenchmarkRead,
// BenchmarkWalk and BenchmarkCat are the same in small.
//
// # What ends a file
//
// The end of the file between two packets is io.EOF. A file that ends within a
// packet is io.EOF too, and [File.Warning] says so. Lengths that cannot be
// true, an unknown interface, or data that does not decompress are an error
// which names the file and the byte (of the decompressed data, where it is
// compressed); what came before is delivered first. A packet longer than the
// snaplen is no such lie: real files have them, and they are delivered whole.
//
// # Caps
//
//	what                    · cap       · default · when full
//	bytes of a frame        · 256 KiB   · same    · error, the file ends there
//	buffer of a batch       · 260 KiB   · 128 KiB · grows for a frame that needs it
//	kept piece of a File    · 260 KiB   · none    · grows as the buffer does
//	buffers of merged files · 16 KiB to 128 KiB each, 1 MiB shared among them
//	pcapng block            · 16 MiB    · same    · error; only 260 KiB are ever held
//	interfaces              · 65 536    · same    · error, the file ends there
//	interface name          · 256 bytes · same    · the rest is cut off, before it is made printable
//	TLS secrets             · none are kept: KeyLog and ReadKeyLog hand them on
//	zstd window             · 32 MiB    · same    · error that names the remedy
package capfile
