// Package report turns the analyzer's facts into what a person or a program
// reads at the end: the text report, the JSON report, lines of NDJSON, findings
// with advice, and the comparison of two reports.
//
// One [Aggregate] belongs to one worker; [Aggregate.Merge] joins them. All sums
// are integers (nanoseconds, counts) and every fold is a function of the keys
// alone, so the merged figures are the same for any number of workers and any
// order of connections. [Build] makes the [Report], on which the [Rules] work
// and which [Report.WriteText] and [Report.WriteJSON] print. An [Encoder]
// writes NDJSON lines and a [Sorter] brings them into order.
//
// # Who is counted where
//
// A server is an address and port together with the name that was asked for,
// if one is known; the report joins the addresses of one name. Connections
// whose exchanges are guesses from encrypted records are counted as
// connections, but their requests, reuse, races and verdicts stand apart, under
// "estimated". What rests on connections alone (reasons, idle times before
// closings, ages) is not divided. Requests per connection are taken over the
// connections that carried at least one request. The reuse ratio leaves out the
// first request of each midstream connection, of which nobody knows whether it
// was reused. New connections in 60 s are those of the busiest 60 s that begin
// at a multiple of 5 s.
//
// # Caps
//
//	what                     cap                      default   when full
//	named servers            Options.MaxServers       1000      the names with the highest hash fold into their address and port
//	unnamed servers          Options.MaxServers       1000      the addresses with the highest hash fold into "other"
//	length of a name         128 bytes                          the rest is cut; bytes that no host name has become "?"
//	client-server pairs      Options.MaxPairs         16384     the pairs with the highest hash are not watched for ports; counted
//	bins of 5 s per pair     256                                the oldest fold into the pair's peak
//	buckets of a histogram   7296, by construction              none: every value has a bucket
//	sorter's memory          NewSorter's maxBytes     16 MiB    a sorted run goes to a temporary file
//	reuse idle times listed  as the analyzer lists              "reuse_idle_unlisted" says how many are missing
//
// Folding by hash, not by arrival, is what makes the kept set independent of
// the order in which workers see their traffic. A flood of invented names
// pushes names out, never addresses: what it displaces is still listed under
// its address and port.
package report
