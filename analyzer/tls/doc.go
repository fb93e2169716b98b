// Package tls follows TLS connections without keys: it reads the two hellos,
// says when the handshake is over, and how the records of application data
// follow each other afterwards (RFC 8446, RFC 5246, RFC 8449). Bytes and gaps
// in, events out; no IO, no time, no TCP.
//
// # What can be seen
//
//   - SNI, the protocols offered by ALPN and whether a session was offered, from
//     the ClientHello. With Encrypted Client Hello that is the outer one.
//   - The version, and up to TLS 1.2 the protocol that ALPN chose. In TLS 1.3
//     that choice is encrypted.
//   - Full or resumed. In TLS 1.3 a ServerHello with pre_shared_key resumes (RFC
//     8446 §4.2.11). Before, what follows the ServerHello tells: a
//     ChangeCipherSpec or a NewSessionTicket where the session is resumed (RFC
//     5246 §7.3, RFC 5077 §3.1), anything else in a full handshake. Where that
//     was not captured, an echoed session id means resumed (RFC 5246 §7.4.1.3).
//   - The end of the handshake: the client's Finished. Up to TLS 1.2 it is the
//     handshake record after the client's ChangeCipherSpec, in TLS 1.3 the
//     client's first encrypted record after the ServerHello.
//
// # What is not application data
//
// In TLS 1.3 everything encrypted is of type application_data. These records
// are left out, so that bursts of what remains look like requests and responses:
//
//   - the encrypted flights of the handshake. The client's ends with its
//     Finished, known by its length, which follows from the cipher suite; where
//     a client certificate comes first and no record has that length, it ends
//     with the next record of the server;
//   - what the server sends before the client's first application data: session
//     tickets (RFC 8446 §4.6.1) and HTTP/2 SETTINGS;
//   - records that have the length of an alert, which are reported as Alert: two
//     bytes of content are no HTTP message.
//
// Early data (0-RTT) is application data. The server's answer to it counts from
// the server's Finished on, or, where that shares a record, from the client's.
//
// # Loss
//
// A gap inside a record is skipped. A hello that a gap cuts is read up to the
// gap. Any other gap makes its direction Lost: it is followed again from the
// first chunk of data that begins like a record; that ciphertext looks so by
// chance is less likely than one in ten million.
//
// # Caps
//
//	what                     cap        when full
//	one hello, buffered      16 KiB     it is read up to there
//	hellos buffered          1 a conn.  a second one ends the first where it is
//	SNI                      255 bytes  left out
//	ALPN names offered       255 bytes  the rest is left out
//	HelloRetryRequests       1          Lost, for good
//	record                   18 KiB     Lost (RFC 5246 §6.2.3)
//
// A hello is buffered only where it does not come in one piece, and no faster
// than its bytes come.
package tls
