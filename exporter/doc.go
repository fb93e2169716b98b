// Package exporter turns the analyzer's facts into Prometheus metrics with
// bounded labels.
//
// A [Recorder] is a worker's [fact.Watcher]. It adds to plain integers in
// memory that only its worker touches: no lock, no atomic operation, no
// allocation and no Prometheus object for an exchange (BenchmarkExchange).
// [Exporter.Gather] copies these figures between two batches of a worker
// ([run.Worker.Do]), a few servers at a time, then adds up the workers and
// makes metrics of them while capture goes on. Scrapes that come at once share
// one copy. So a scrape costs capture the copying and no more, however slow the
// scraper is.
//
// # When things are told
//
// A connection is counted as opened, and its handshake as needed or wasted, at
// its first request or ClientHello: one that lives for days can't wait for its
// end, and a counter can't go back. Its NDJSON line tells what is known at the
// end, so the two differ where the end puts the beginning in another light: a
// handshake that completed after the request (data in the SYN, RFC 7413) is
// "partial" here and "complete" there, one whose SYN was captured after the
// request is "midstream" here, and a verdict stands here though a later request
// upgraded the connection.
//
// # Labels
//
// The direction is told by the host's own addresses, [Config.Local]. The server
// is the name that the client asked for (Host, SNI, or what it looked up), else
// address and port; on the inbound side it is the local address and port or
// [Config.ServerName], never text that a client chose. Labels with a closed set
// of values have all of them from a server's first packet on, so that the first
// event is an increase; reasons of closing are exported with the sides that can
// have caused them, protocols once one of their requests was seen, and those of
// TLS once there was TLS.
//
// # Series
//
// A server whose traffic is plain HTTP/1.1 has about 200 series with classic
// histograms, 90 without; TLS adds about 70 and 40. The cap on servers thus
// bounds the page at 60 000 series.
//
// # Caps
//
//	what                                    cap                        default  when full
//	servers, over all directions            Config.MaxServers          200      servers idle for an hour make room, if there are any, at the next scrape; else "other"
//	pairs of server and client network      4 × Config.MaxServers      800      client "other"
//	length of a name                        128 bytes                           the rest is cut; bytes that no host name has become "_"
//	cells of a histogram                    by construction: < 400              longer than 24 days counts as that
//	populated native buckets                160                                 the resolution is halved until they fit
//	idle closings that tell a timeout       64 a side, server, worker           the oldest goes
//	servers that connections are marked by  65 535 ever, a worker               the server is looked up with each fact
//	memory of a server                      about 25 KiB a worker
//
// # Cost
//
// The analysis of a file with metrics, over that of the same file without any
// observer, in instructions (BenchmarkCostOfMetrics tells the same in CPU time,
// by turns): 1.02 to 1.03 where a connection carries 17 small requests, 1.00 with
// large bodies, 1.05 to 1.06 where it carries one. An exchange takes 7 ns with
// one server and 11 ns with 200 (BenchmarkExchange).
package exporter
