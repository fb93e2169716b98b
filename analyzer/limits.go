package analyzer

import "github.com/keepscope/keepscope/analyzer/fact"

// Limits returns the caps of the analyzer and of what it is made of, each with how
// often it was met.
func (a *Analyzer) Limits() fact.Limits {
	list := fact.Limits{
		{Name: "unsettled_handshakes", Count: a.limits.unsettled, Means: "a wasted handshake was told before its cause was certain"},
		{Name: "traces", Count: a.limits.traces, Means: "a connection cannot be drawn"},
		{Name: "belated_answers", Count: a.limits.belated, Means: "a request that its client gave up may be told as answered"},
		{Name: "host_names", Count: a.names.emptied, Means: "names were forgotten, and are known again when they come again"},
		{Name: "cut_header_bytes", Count: a.table.heads.Full, Means: "a header section that segments cut was not read"},
		{Name: "cut_tls_hellos", Count: a.table.hellos.Full, Means: "the rest of a TLS hello that segments cut was not read: names may be missing"},
		{Name: "pipelined_requests", Count: a.table.heads.Crowded, Means: "a request was told without its response"},
	}
	list = append(list, a.table.h2Limits()...)
	if a.decryption != nil {
		list = append(list, fact.Limit{Name: "held_tls_records", Count: a.decryption.Stats.Full, Means: "records that waited for keys, or for their end, were given up"},
			fact.Limit{Name: "tls_lines", Count: a.limits.lines, Means: "connections were judged out of order, for too much waited behind one without keys"})
	}
	if a.pools != nil {
		p := a.limits.pools
		p.Add(a.pools.Stats())
		list = append(list,
			fact.Limit{Name: "pool_pairs", Count: p.Evicted, Means: "a pair of client and server was forgotten: a handshake that it wastes next counts as needed"},
			fact.Limit{Name: "pool_slots", Count: p.SlotsEvicted + p.Slotless, Means: "an idle connection of the ideal pool was forgotten: a handshake may count as needed"},
			fact.Limit{Name: "pool_origins", Count: p.JoinedByCap, Means: "the names of one client at one address were taken for one pool"},
			fact.Limit{Name: "pool_losses", Count: p.LossesForgotten, Means: "a handshake is told as pool_miss whose cause may be another: why a connection was lost was forgotten"})
	}
	d := a.dns.Stats()
	return append(list,
		fact.Limit{Name: "dns_names", Count: d.NamesForgotten + d.UsedForgotten, Means: "a name that an answer told was forgotten"},
		fact.Limit{Name: "dns_queries", Count: d.QueriesForgotten, Means: "a query was forgotten before its answer came"},
		fact.Limit{Name: "dns_timings", Count: d.TimingsForgotten, Means: "how long a look-up took was forgotten"})
}

func (t *table) h2Limits() fact.Limits {
	s := t.h2.Stats
	return fact.Limits{
		{Name: "hpack_tables", Count: s.Tables, Means: "the names of an HTTP/2 connection were not known from there on"},
		{Name: "header_blocks", Count: s.Blocks, Means: "the end of a header block was not read"},
		{Name: "open_streams", Count: s.Streams, Means: "a stream was counted, and not followed singly"},
		{Name: "frame_lengths", Count: s.Frames, Means: "a frame was longer than its receiver allowed: its sender was not read from there to where it was recognised again"},
	}
}
