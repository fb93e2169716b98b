// Package exporter shows a tally as Prometheus metrics with bounded labels.
//
// [Exporter.Gather] makes metrics of what [tally.Set] has counted while capture
// goes on. Scrapes that come at once share one result.
//
// # When things are told
//
// Package tally says what is counted when. NDJSON lines tell what is known at the
// end, so the two differ where the end puts the beginning in another light: a
// handshake that completed after the request (data in the SYN, RFC 7413) is
// "partial" here and "complete" there, and one whose SYN was captured after the
// request is "midstream" here.
//
// # Labels
//
// Direction and server are as package naming tells them. What health checks do has
// traffic="probe" from the moment that they are known for what they are. Series that
// alerts and panels use are there from a server's first packet on, so that the first
// event is an increase: requests of HTTP/1.1, requests that failed, handshakes that
// did, needed handshakes, races, connections that the path forgot, and wasted
// handshakes by the commonest causes; of TLS their estimated twins. Others, and
// histograms, come with their first event, and none is there that can never count.
//
// # Series
//
// A server whose traffic is plain HTTP/1.1 has about 100 series with classic
// histograms, 40 without; TLS adds about 55. A page with 200 such servers has at most
// 21 200 lines (TestLines). A server has at most 650 series, whatever it does
// (TestMostSeries). Networks of clients, where they are told apart, are as many more
// rows as the cap on servers allows, and so at most double a page.
//
// Times at which counters began (_created) are in the OpenMetrics page only where they
// are asked for; in protobuf they cost no line.
//
// # Caps
//
//	what                       cap   when full
//	populated native buckets   160   the resolution is halved until they fit
//
// The others are those of package tally.
package exporter
