// Package lab builds a small network in which real clients and servers can be
// watched: two network namespaces joined by a veth pair with offloads off, so
// that what is captured is what a wire would carry. It starts nginx in one,
// runs programs and Go code in either, captures with tcpdump, and reads from
// nginx's log what really happened on each connection.
//
// It needs Linux, root (or CAP_NET_ADMIN and CAP_SYS_ADMIN) and the programs
// ip, ethtool, nginx and tcpdump; [Check] says which of these is missing.
// Everything is made under names of its own and removed by [Lab.Close]; nothing
// outside the two namespaces is changed.
//
//	what               cap                      default        when full
//	client addresses   200                      1              New fails
//	nginx start        10 s                     10 s           NewNginx fails
//	process stop       15 s, then killed        15 s           Stop reports it
//	capture ring       what the kernel grants   512 MiB        Stop reports drops
//	log line           64 KiB                   64 KiB         ReadLog fails
package lab
