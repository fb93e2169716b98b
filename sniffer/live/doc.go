// Package live captures on this host's interfaces for as long as a program runs.
//
// It gives up the rights that capturing takes once it captures, tries interfaces again
// that have gone, knows which addresses are this host's, and ends with what was
// captured before it was told to stop. Package pcap opens the interfaces. Unlike the
// stages behind it, it reads the clock, and says in a log when an interface comes or
// goes.
package live
