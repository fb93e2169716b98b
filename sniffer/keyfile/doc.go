// Package keyfile follows key logs that other programs write: files, every file
// in a folder, and named pipes. It hands on bytes and understands none of them.
//
// Programs append to a key log while their connections go on, several to one file; they are
// rotated (renamed and made anew), truncated and replaced. A [Follower] looks
// at all of them whenever Poll is called, 50 times a second by Run: a stat and a read each, which
// is less than watching them would save in the code. A file is read to its end before the
// one that replaced it is begun. One that is not there yet is waited for.
//
// Descriptors stay open: what was opened before a process gave up its rights can still be
// read afterwards. Where reopening, or a new file in a folder, then fails, a [Warning] says so,
// once for each path.
//
// A file that was truncated and grew beyond what it had between two polls is taken to
// have grown; the first line read of it is then not whole.
//
// # Caps
//
//	what                          cap       when full
//	files in a folder             1 024     others are left out, with a Warning
//	bytes of a source in a Poll   1 MiB     the rest at the next
//	warnings remembered           4 096     more are not told
//
// The bytes read are wiped from the buffer once they are handed on.
package keyfile
