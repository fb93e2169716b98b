// Package http1 finds the messages of HTTP/0.9, 1.0 and 1.1 in a stream of
// bytes (RFC 9112): heads and ends out, no IO, no time, no TCP.
package http1
