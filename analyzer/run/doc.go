// Package run takes a source's frames to the analyzer: through one worker, or to
// several, each of which owns its share of the connections.
//
// A [Reader] fills a batch of frames from a [sniffer.Source] and decodes each frame once.
// It gives a TCP segment to the [Worker] that its two addresses name, so that all of a
// pair's connections are one worker's. DNS goes to all. A Worker is a
// [reassembly.Assembler] and the [analyzer.Analyzer] behind it.
//
// Once a second of packet time every worker collects what is past its deadline. Such a
// sweep has its place in the order of packets. So the facts are the same for any number of
// workers and any size of batches, and those of one connection come in the same order.
//
// Where a worker has most of the traffic, and there are keys, the Reader opens records of
// TLS before that comes to them. With two workers one client's 300 000 small requests to one
// server are then read 1.5 times as fast as with one, and 20 000 connections of one request
// 1.35 times (two cores, wall time; 1.15 and 1.1 without). Nothing that is found depends on it.
//
// What an [fact.Observer] of a worker is told is told in that worker's goroutine: one
// Observer a worker, or one that locks. [Worker.Do] runs a function between two batches,
// for whoever reads what an Observer holds while the capture goes on.
//
// # What is bounded
//
//	what                    cap                        when full
//	batches under way       3 more than workers        reading waits: a live source drops, and counts it
//	segments decoded ahead  64, with one worker        they are processed
//	connections read ahead  1 024, silent for 1 min.   their worker opens all their records
//
// [Worker.Limits] has the caps of assembler and analyzer.
package run
