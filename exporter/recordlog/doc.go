// Package recordlog writes a record of each connection that ends, while packets are
// captured: to a file that is rotated by its size (OpenFile), or to a folder of files
// by the hour, of lines or of Parquet rows (OpenFolder). Package otlp pushes them.
//
// A log never keeps who captures waiting. What the disk is too slow for, or does not
// take, is dropped and counted:
//
//	bound                    default          when it is met
//	records that wait        8192             further ones are dropped
//	how long for others      100 ms           they are written
//	and how many bytes       512 KiB          they are written
//	a buffer of them, kept   2 MiB            a larger one is not used again
//	a file                   MaxSize          it is rotated, or completed
//	rotated files            Keep             the oldest is removed
//
// A process that is killed loses the records that wait, and of a folder the file that has
// no name yet.
//
// All that a log does with files it does as the user that the process becomes once it
// captures, from the first: the files are that user's, and what it may not do fails at
// the start.
package recordlog
