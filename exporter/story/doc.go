// Package story shows single connections: what a figure is made of. A [Story] has the
// connections of one client, one server and one name on one time axis: what each of
// them cost to open, what it carried, how it idled and who closed it, why a handshake
// was wasted and which connection could have carried its request. Beneath stand the
// connections that would have been enough.
//
// A [Store] listens to a worker and keeps what shows each server and cause best, or
// what is newest; [Stores] choose from all of them. A Story can be written as text,
// SVG, HTML and JSON. It has methods, states, names and times, and never a path, a
// query or the value of a field.
//
// # What is bounded
//
//	what                        cap                           default     when full
//	stories of a server's cause Config.PerCause               8           the newest stay, or those that show it best
//	and of what is ordinary     Config.Ordinary               2           the same
//	connections of a story      maxLanes                      6           the others are counted
//	exchanges of a connection   analyzer.Config.Traces        8, live     those in the middle are counted
//	pairs remembered            Config.MaxPairs               2048        the one not used for longest is forgotten
//	stories                     Config.MaxStories             by bytes    the oldest one goes, of a cause that has others where there is one (Evicted)
//	bytes of all that           Config.MaxBytes               4 MiB       a pair is forgotten, and then a story goes
//
// [Live] is what is kept while packets arrive, of all workers together.
package story
