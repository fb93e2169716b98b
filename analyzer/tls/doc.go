// Package tls follows TLS connections (RFC 8446, RFC 5246, RFC 8449). Bytes and gaps in,
// events and plaintext out; no IO, no clock, no TCP.
//
// An [Observer] has no keys: it reads the two hellos, says when the handshake is over, and
// how the records of application data follow each other afterwards. A
// [Decrypter] has those of a key log (package keylog), and hands plaintext to
// what reads the protocol inside; where keys are missing it is an Observer.
//
// # What can be seen without keys
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
//   - The end of the handshake: the moment from which the client can send its
//     request. In TLS 1.3 that is its Finished, the first encrypted record after the
//     ServerHello. Up to TLS 1.2 it is the server's Finished in a full handshake, or the
//     client's first application data where that comes earlier (RFC 7918), and
//     the client's Finished in a resumed one; where the server was not captured, the
//     client's. A Finished is the handshake record after its side's
//     ChangeCipherSpec.
//   - What a record can hold, by its length: a request has 16 bytes at least, so a WebSocket's
//     closing is none; a 100 (Continue) has 25; HTTP/2's frames see below.
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
//   - records that have the length of an alert, which are reported as MaybeAlert: two
//     bytes of content are no HTTP message. Where that side sends no more
//     application data and closes, it was one.
//
// Early data (0-RTT) is application data. The server's answer to it counts from
// the server's Finished on, or, where that shares a record, from the client's.
//
// # HTTP/2 in TLS 1.3, guessed
//
// ALPN's choice is encrypted. LooksHTTP2 says yes where the client offered h2
// and the server's first encrypted record has the length of EncryptedExtensions
// with ALPN h2 and at most server_name and early_data; no where it has that with
// http/1.1 or without ALPN; and else, as where it shares a record with the
// certificate, where the client offered h2 first, its first application
// data has the length of the preface alone or with SETTINGS of up to 8
// settings and a WINDOW_UPDATE, and it goes on before the server has answered. On 140
// connections of captures (9 of HTTP/2) the rule errs on none; what it falls back on, by
// itself, misses 2 and takes none wrongly (TestLooksHTTP2). On such a connection a client's record of
// up to 35 bytes that SETTINGS acknowledgements, WINDOW_UPDATE, PING and GOAWAY add up to
// holds no request, unless the server answers it with more than such frames: a request
// for / of a short name takes no more.
//
// # What estimates are good for
//
// Above this package an exchange is estimated for each burst of the client's records
// that can hold a request and that a burst of the server's answers. Held against the
// same captures with keys (TestEstimates of package run):
//
//	traffic                                       captures  requests  estimated
//	HTTP/1.1, a request at a time: TLS 1.2 and    17        all       the same; so are reuse and waste
//	1.3, full and resumed, early data, KeyUpdate,
//	loss inside a record, closings of each kind
//	HTTP/1.1, pipelined                           2         44        10: a burst of requests is one
//	HTTP/2                                        4         148       none: the connection is told as HTTP/2
//
// A WebSocket looks like exchanges. What ends inside records, "Connection: close" say,
// is not seen, so that a closing right after a response may have been announced.
//
// # Loss without keys
//
// A gap inside a record is skipped. A hello that a gap cuts is read up to the
// gap. Any other gap makes its direction Lost: it is followed again from the
// first chunk of data that begins like a record; that ciphertext looks so by
// chance is less likely than one in ten million.
//
// # With keys
//
// A Decrypter waits until the secrets of both directions are there, at most 2 s of packet
// time, and then reads what it held with the times that it had. Of TLS 1.3 it
// needs the two of application data; without those of the handshake it finds
// the first record of application data by trying. Early data is read if
// the server accepted it and CLIENT_EARLY_TRAFFIC_SECRET is there. Up to TLS 1.2
// a session that is resumed without a line of its own is read by the master secret of
// the full handshake, known by ticket and by session id. A renegotiation has a
// line under the random inside its encrypted ClientHello.
//
// Plaintext has the time of its record's first byte, and comes a record at a time.
// Nothing is read of a record that does not authenticate. What nobody reads is not decrypted:
// where the layer above is a Skipper, of a record inside a body of known
// length only the content type is, by one block. Such a type is not authenticated: all but application
// data is opened, and so is the first record after a gap or new keys. A record
// that is not kept whole and turns out to be something else (a KeyUpdate padded
// to 256 bytes or more inside a body) is lost; the next tries the next keys.
//
// # Records opened ahead
//
// An Opener reads a connection before its Decrypter does, in another goroutine. It needs
// whole records, one after the other, of TLS 1.3, and opens those of application data,
// which it finds by trying. A Decrypter takes from an Opened what it would open otherwise:
// a record with the same bytes, keys and number has the same content.
//
// # Loss with keys
//
// A gap inside a record costs that record: the layer above is told a gap of what it held, exactly
// but for padding. A gap over record headers is followed again at the first chunk that
// begins like a record, whose number is found by trying up to gap/22 + 1 numbers from gap/16645 on, at
// most 256, and then the next keys; what was lost before it follows from its number. A connection
// of which a hello was lost is not decrypted.
//
// # Caps
//
//	what                     cap        when full
//	one hello, buffered      16 KiB     it is read up to there
//	hellos buffered          1 a conn.  a second one ends the first where it is
//	all of them              Hellos     it is read up to there (Hellos.Full)
//	SNI                      255 bytes  left out
//	ALPN names offered       255 bytes  the rest is left out
//	HelloRetryRequests       1          Lost, for good
//	record                   18 KiB     Lost (RFC 5246 §6.2.3)
//
// A hello is buffered only where it does not come in one piece, and no faster
// than its bytes come. With keys:
//
//	what                      cap            when full
//	waiting for keys          64 KiB, 2 s    Missing (Stats.Full, Late); renegotiating: the rest is gaps
//	events that wait          1 024          as above
//	a message, buffered       16 KiB         it is read up to there
//	held by all of them       NewDecryption  a record that comes in pieces is lost, else as above (Stats.Full)
//	records that fail, first  16             Mismatched
//	tries between two         4 096          the direction is gaps (Stats.Abandoned)
//	Ciphers kept              1 024          made again when needed
//	records in an Opened      1 024          the Decrypter opens them; so are those of more than 2 KiB
//	their content             128 KiB        as above
//	records that are tried    16             as above, for the rest of the connection
//
// A Decrypter takes 528 bytes, and 770 more until its handshake is over; a
// record that comes in pieces 18 KiB while it does.
//
// # Secrets
//
// Plaintext is wiped when the layer above has had it, or, in an Opened, all there is of a
// batch of segments; a direction's keys when
// they are followed by others and when the connection ends, and what only the
// handshake needed at its end. The Store drops a line 10 s after its
// connection took it. What crypto/* holds is said in package protection. Buffers
// hold ciphertext only.
package tls
