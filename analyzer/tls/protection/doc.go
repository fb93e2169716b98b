// Package protection opens the records of TLS 1.0 to 1.3 with the secrets of a
// key log: it derives keys and takes protection off records. It knows no
// handshake and no connection.
//
// A [Keys] is what one direction's records are protected with, small enough to
// be kept for each connection. A [Cipher] made from it holds key schedules of
// crypto/aes, has a kilobyte or two, and can be made again in a microsecond. A
// [Schedule] derives them; its hashes are reused, which makes HKDF three
// times as fast as crypto/hkdf.
//
// Ciphers are those of crypto/aes, crypto/cipher and x/crypto; CCM, which they
// lack, is done here over crypto/aes (RFC 3610, RFC 6655). Suites: AES-GCM (RFC 5288,
// RFC 8446), ChaCha20-Poly1305 (RFC 7905, RFC 8446), AES-CCM and CCM-8 (RFC 6655, RFC
// 7251, RFC 8446), and AES-CBC with SHA-1, SHA-256 and SHA-384 (RFC 5246), with
// the MAC inside or, by encrypt-then-MAC (RFC 7366), outside.
//
// # Content types
//
// [Cipher.Content] says what a record holds, and how much, from its last bytes:
// one block of key stream is enough. It is not authenticated. Nothing in it runs in constant
// time: whoever can measure it has the keys at hand.
//
// # Secrets
//
// Keys and Ciphers are wiped by Wipe, and a Schedule's own buffers after each
// use. What crypto/aes (expanded keys), crypto/cipher (GCM's table),
// chacha20poly1305 (the key) and the hashes (their last blocks) hold inside
// cannot be wiped from here, and goes with the garbage collector.
package protection
