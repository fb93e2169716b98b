// Package sniffer decodes captured frames into TCP segments and DNS datagrams.
//
// A [Source] fills a [Batch] with frames; a [Decoder] turns each frame, once,
// into a flat [Segment] whose payload views the batch's buffer. Nothing here
// reads a clock, logs, or knows HTTP.
package sniffer
