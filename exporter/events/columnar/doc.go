// Package columnar writes records as rows of Parquet files, from the tables of
// package events: a column of the table is a column of the file, in the table's
// order, behind those of a [Place].
//
// [Format.Append] makes bytes of a record, which can wait in a queue, be sorted or
// spilt to a disk, and a [Writer] makes a file of such rows. Only the first knows
// records.
//
// # The schema
//
// Every file has every column: what a record has not is null, a list of nothing is
// empty, and a map with changing keys has a column for each key of its closed set.
// A false or 0 that NDJSON leaves out for brevity is there.
//
//	kind of the table          type
//	words, text                STRING
//	addresses, ids             STRING
//	counts                     INT64
//	flags                      BOOLEAN
//	times                      TIMESTAMP(NANOS), not adjusted to UTC, in UTC
//	durations                  INT64 of nanoseconds; "_seconds" in a name is "_nanoseconds"
//	lists of durations, words  LIST
//	groups                     a struct, which itself is never null
//	lists of groups            LIST of structs
//
// Times are not marked as adjusted to UTC, for DuckDB would read them as
// microseconds. The metadata of a file says with "keepscope.schema" by which
// [SchemaVersion] it was written; columns may be added without a new one.
//
// # Caps
//
//	what                      cap     when full
//	rows of a row group       4 MiB   it is written
//
// Rows are bytes here. In memory a row group takes about as much, and at most five
// times.
package columnar
