// Package events writes a record of each connection and each exchange.
//
// [Connections] and [Exchanges] are the tables of their fields: each column has a
// name, a type and a way to get its value. Every sink works from them, so that
// there is no second list of fields: NDJSON ([Table.AppendJSON], [Encoder]), and
// whatever else stores columns or attributes.
//
// A record that is written before all of a server's connections were seen, live or of
// a shard, is "unsettled" where they may show its server_abort to be a race
// ([fact.Connection].Unheard). Those that a [Sorter] keeps to the end say what the
// report says ([Answers]).
//
// No column holds a path, a query, a header's value or a body.
//
// # Caps
//
//	what                     cap                       default   when full
//	sorter's memory          NewSorter's maxBytes      16 MiB    a sorted run goes to a temporary file
//	reuse idle times listed  as the analyzer lists               "reuse_idle_unlisted" says how many are missing
package events
