// Package history keeps what was counted in the last minutes apart, so that a view can
// say what is going on now, and not only what happened since the start.
//
// It is given the counters of all servers now and then ([History.Add]), and answers how
// much they grew within a [Window] ([History.Since]), all in all and in each twelfth of
// it ([History.Steps]). A window begins at a point that was kept: it is at most a
// twelfth longer than its name says. A server that comes anew, or begins to count anew,
// has all that it counts in each window.
//
// # Caps
//
//	what                     cap                     when full
//	servers with a history   maxSeries               further ones have none; counted (History.Unkept)
//	points of each           NumWindows × (Points+1) the oldest goes
//
// Points between which nothing was counted share their memory: a server takes 0.4 KiB
// where it is idle, and 6 KiB where it never is.
package history
