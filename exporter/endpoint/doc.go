// Package endpoint serves metrics, pages and health checks over HTTP to clients that it
// does not trust with its memory or its processors.
//
// Whatever clients do, others are answered: connections are bounded in all and for
// each client (listener.go), clients that come at once get one answer, made once
// (pages.go), and a request has bounds in bytes and time (endpoint.go). A web
// configuration file as other exporters have it adds TLS and passwords, and is read
// again while it serves (webconfig.go).
//
//	bound                      value    when it is met
//	connections                64       an idle one is closed, else the newcomer
//	connections of a client    32       an idle one of its own is closed
//	HTTP/2 requests at once    8        further ones wait
//	header section             16 KiB   431
//	body of a request          4 KiB    the connection is closed
//	answers in memory          6        older ones are given, or taken from who reads slowly
package endpoint
