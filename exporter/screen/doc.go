// Package screen is the live view of 'keepscope watch': a table of servers with what to
// change about the selected one, its connections, and the story of one of them.
//
// A [Model] is a model of bubbletea: it is told of keys, sizes and time, and returns
// text. What it shows it asks a [Source] for; it reads no file, clock or packet itself.
//
// The table shows what was counted in a window: the last minute, the last five, or all
// since the start. Counted and estimated figures stand in rows of their own, and the
// latter behind their mark. Nothing changes unsaid: the cursor stays on its row wherever
// that is sorted to, a new order, window or filter is told, and so are new servers.
//
// # Caps
//
//	what                     cap                  when full
//	time that figures take   1/busyShare          the next ones are asked for later, seldom at the latest
//	bytes of a filter        maxFilter            the rest is not taken
//	names of new servers     maxTold              the others are counted
//
// All else is as long as the lists of the Source, and of these only the rows are drawn
// that there is room for.
package screen
