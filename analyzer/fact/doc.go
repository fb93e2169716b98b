// Package fact is the vocabulary of what Keepscope finds: connections and
// exchanges, and the words for why and by whom. It has no behaviour but the names
// of its words; exporters and dashboards need no other part of package analyzer.
//
// A number that is not known, or that there is none of, is [Absent].
package fact
