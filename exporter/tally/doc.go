// Package tally keeps what was counted of each server: every figure once in a
// worker, merged once. Metrics, report, page and live table are views of it, so
// they cannot disagree.
//
// A [Worker] counts the facts of one analyzer worker, as its [fact.Watcher]. It
// adds to plain integers that only it touches: no lock, no atomic operation and no
// allocation for an exchange or a connection (TestNoAllocation, BenchmarkExchange,
// BenchmarkConnection). [Set.View] copies these figures between two batches of a
// worker, a few servers at a time, adds up the workers, and hands the sum to a
// view while capture goes on. So a view costs capture the copying and no more,
// however slow its reader is.
//
// All sums are integers (nanoseconds, counts), and of what is kept of the newest
// only (closings that tell a timeout, examples) which ones does not depend on the
// order of telling: the figures are the same for any number of workers.
//
// # What is counted when
//
// A connection is counted as opened, and its handshake as needed or wasted, when
// that is told, which is at its first request or ClientHello: one that lives for
// days can't wait for its end, and a counter can't go back. Requests are counted
// when their exchange is over, each for its own Host. What is about connections
// (reasons, durations, idle times before closings) is counted when they end, and
// so is all that is estimated from encrypted records, for nothing of it is certain
// before. Estimates stand apart, in [Figures.Estimated]; no figure mixes them.
//
// # Which server
//
// A row is an address and port, with the name that was asked for and the
// direction, as [naming.Desk] tells them. Rows of one direction and name share a
// [Label], of which there are Config.MaxServers. The Set alone gives labels, when
// somebody looks: servers with most requests first, and none to what carried no
// request while others wait. What gets no label is added to the others' figures
// for good, for what a view has shown as "other" cannot leave it. A label is given
// up by servers that carried no request, and by those that were idle for an hour,
// the idlest first, for others that wait; their figures stay in the totals, and
// how often that was is counted.
//
// # What a server's other connections tell
//
// The newest connections of each server are remembered one by one ([Record]), for what
// no connection tells alone: which client checks health, closings of many at once
// ([Mass]), and whether a server's abort was its idle timer (an open question of the
// analyzer, [fact.Connection].Unheard). A question is answered when it is told, by what
// the worker knows then, and that is what metrics count. [Sum.Endpoints] answers all of
// them anew for a report that is final, and changes the sum's figures: the reason, the
// failed request, the count of races and the cause of the handshake that it made.
// [Sum.Resettled] says how many differ, and [Sum.Answers] which it gives, for records
// that are written at the end.
//
// # Caps
//
//	what                                    cap                            default  when full
//	servers called by their name            Config.MaxServers              1000     the idlest make room, else "other"
//	servers counted apart, by a worker      8 × Config.MaxServers, half    8000     a name is counted for its address and port,
//	                                        of them with names                      an address for "other"; counted
//	networks of clients, where told apart   Config.MaxServers              1000     client "other"
//	client-server pairs                     Config.MaxPairs                16384    the pairs with the highest hash are not watched; counted
//	bins of 5 s per pair                    256                                     the oldest fold into the pair's peak
//	closings that tell a timeout            64 a side and server                    the oldest goes
//	connections remembered one by one       1024 of a server, 65 536 of a worker    the oldest goes, its questions keep their answers; counted where it may be missed
//	clients watched for health checks       64 a server, of a worker                further ones are told by their own words only, in reports
//	targets of CONNECT told apart           32 a server, of a worker                the rest is not listed
//	servers that connections are marked by  32 766, of a worker                     the server is looked up with each fact
//	cells of a histogram                    about 7900, by construction             none: every value has a cell
//
// A server takes about 6 KiB in each worker, and 4 KiB more once something of it
// is estimated.
package tally
