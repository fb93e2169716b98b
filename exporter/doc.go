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
// alerts and rules use are there from a server's first packet on, so that the first
// event is an increase: requests of HTTP/1.1, needed handshakes, races, and wasted
// handshakes by the commonest causes. Others, and histograms, come with their first
// event.
//
// # Series
//
// A server whose traffic is plain HTTP/1.1 has about 110 series with classic
// histograms, 30 without; TLS adds about 70 and 40. The cap on servers thus
// bounds the page at 40 000 series for 200 servers.
//
// # Caps
//
//	what                       cap   when full
//	populated native buckets   160   the resolution is halved until they fit
//
// The others are those of package tally.
package exporter
