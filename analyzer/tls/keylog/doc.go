// Package keylog reads NSS key logs and keeps the secrets of TLS connections by
// client random (the format that SSLKEYLOGFILE made common). It opens no file:
// bytes come from whoever has them, in pieces that end anywhere.
//
// A [Parser] reads one file's lines into a [Store], which any number of parsers
// fill and any number of goroutines ask. The labels taken are CLIENT_RANDOM (TLS 1.2
// and older: the master secret) and, of TLS 1.3 (RFC 8446 §7.1),
// CLIENT_EARLY_TRAFFIC_SECRET, CLIENT_ and SERVER_HANDSHAKE_TRAFFIC_SECRET,
// and CLIENT_ and SERVER_TRAFFIC_SECRET_0. They are compared whole: OpenSSL writes a
// literal CLIENT_TRAFFIC_SECRET_N for later generations, which follow from
// the first. Order means nothing, and the same line may come any number of
// times. Every other line is counted and left out.
//
// A Store also remembers the master secrets of TLS 1.2 sessions by session id and
// ticket, for programs that log nothing when they resume one.
//
// # Caps
//
//	what                     cap             when full
//	randoms in a Store       New's argument  the oldest goes, counted in Stats.Evicted
//	sessions in a Store      65 536, 2 h     the oldest goes, counted in Stats.Forgotten
//	a line                   256 bytes       it is left out, counted in Stats.Lines.Broken
//
// An entry takes about 260 bytes with the secrets of TLS 1.3, 190 with a master
// secret; a session 180. Nothing is allocated before it is used.
//
// # Secrets
//
// What is dropped, replaced or closed is zeroed first, and so is a Parser's
// unfinished line. An entry goes 10 s of packet time after the connection that
// used it has taken what it needs.
package keylog
