package tally

// Merge adds what o counted. The result does not depend on how facts were divided
// between figures, nor on the order of merging.
func (f *Figures) Merge(o *Figures) {
	if f.Created == 0 || o.Created != 0 && o.Created < f.Created {
		f.Created = o.Created
	}
	f.Active = max(f.Active, o.Active)
	addAll(f.Opened[:], o.Opened[:])
	f.Open += o.Open
	f.Leaving += o.Leaving
	f.Encrypted = f.Encrypted || o.Encrypted
	f.EstimatedOpened += o.EstimatedOpened
	f.EstimatedEnd += o.EstimatedEnd
	f.Counted.merge(&o.Counted)
	if o.Estimated != nil {
		f.estimate().merge(o.Estimated)
	}
	addAll(f.Outcomes[:], o.Outcomes[:])
	addAll(f.StatusClasses[:], o.StatusClasses[:])
	for i := range f.Closed {
		addAll(f.Closed[i][:], o.Closed[i][:])
	}
	f.mergeEnded(o)
	theirs := o.histograms()
	for i, h := range f.histograms() {
		h.Merge(theirs[i])
	}
	if o.AdvertisedAt > f.AdvertisedAt || o.AdvertisedAt == f.AdvertisedAt && o.Advertised > f.Advertised {
		f.Advertised, f.AdvertisedAt = o.Advertised, o.AdvertisedAt
	}
	for i := range f.IdleClosings {
		f.IdleClosings[i].merge(&o.IdleClosings[i])
		f.Discards[i].merge(&o.Discards[i])
	}
	f.mergeUnusual(o)
}

func (f *Figures) mergeUnusual(o *Figures) {
	f.Unread.merge(&o.Unread)
	f.Stalled.merge(&o.Stalled)
	f.Silent.merge(&o.Silent)
	f.UnusedTLS.merge(&o.UnusedTLS)
	f.Repeated.merge(&o.Repeated)
	f.UnreadHTTP2.merge(&o.UnreadHTTP2)
	f.StallsOpen.merge(&o.StallsOpen)
	f.Path.Survived = max(f.Path.Survived, o.Path.Survived)
	addAll(f.Path.Probes[:], o.Path.Probes[:])
	addAll(f.Ignored[:], o.Ignored[:])
	addAll(f.Errors[:], o.Errors[:])
	if o.HTTP2 != nil {
		if f.HTTP2 == nil {
			f.HTTP2 = new(HTTP2)
		}
		f.HTTP2.merge(o.HTTP2)
	}
	if o.Probed != nil {
		f.probed().merge(o.Probed)
	}
	for target, t := range o.Tunnels {
		f.mergeTunnel(target, t)
	}
}

// MergeDetail adds what o knows of single clients and connections, which Merge leaves
// out.
func (f *Figures) MergeDetail(o *Figures) {
	f.Clients.Merge(&o.Clients)
	f.Newest.merge(&o.Newest)
}

func (f *Figures) probed() *Probed {
	if f.Probed == nil {
		f.Probed = new(Probed)
	}
	return f.Probed
}

func (p *Probed) merge(o *Probed) {
	p.Traffic.merge(&o.Traffic)
	addAll(p.Outcomes[:], o.Outcomes[:])
	for i := range p.Closed {
		addAll(p.Closed[i][:], o.Closed[i][:])
	}
}

// mergeTunnel keeps all targets of all workers: there are as many tables of at most
// maxTunnels as there are workers.
func (f *Figures) mergeTunnel(target string, o *Tunnel) {
	if f.Tunnels == nil {
		f.Tunnels = Tunnels{}
	}
	t := f.Tunnels[target]
	if t == nil {
		t = new(Tunnel)
		f.Tunnels[target] = t
	}
	t.Opened += o.Opened
	for i := range t.Wasted {
		t.Wasted[i].merge(&o.Wasted[i])
	}
}

func (n *Counted) merge(o *Counted) {
	n.N += o.N
	n.NS += o.NS
	n.Example.merge(&o.Example)
}

func (f *Figures) mergeEnded(o *Figures) {
	addAll(f.Handshakes[:], o.Handshakes[:])
	addAll(f.Protocols[:], o.Protocols[:])
	addAll(f.Versions[:], o.Versions[:])
	addAll(f.Keys[:], o.Keys[:])
	addAll(f.Software[:], o.Software[:])
	f.Incomplete += o.Incomplete
	f.Lost += o.Lost
	f.Unsolicited += o.Unsolicited
	f.Pipelined += o.Pipelined
	f.Missing += o.Missing
	f.Truncated += o.Truncated
	addAll(f.Bytes[:], o.Bytes[:])
	addAll(f.Packets[:], o.Packets[:])
	f.TimeWait.merge(o.TimeWait)
}

func (t *Traffic) merge(o *Traffic) {
	for v := range t.Requests {
		addAll(t.Requests[v][:], o.Requests[v][:])
	}
	t.Responses += o.Responses
	t.Connections += o.Connections
	t.Unlisted += o.Unlisted
	for i := range t.Failed {
		f, theirs := &t.Failed[i], &o.Failed[i]
		f.N += theirs.N
		f.Idle.Merge(&theirs.Idle)
		f.GivenUp.Merge(&theirs.GivenUp)
		f.Example.merge(&theirs.Example)
	}
	t.Races += o.Races
	t.StaleReuses += o.StaleReuses
	t.Raced.merge(&o.Raced)
	t.Needed += o.Needed
	addAll(t.Wasted[:], o.Wasted[:])
	addAll(t.WastedNS[:], o.WastedNS[:])
	addAll(t.CostNS[:], o.CostNS[:])
	for i := range t.WastedBy {
		t.WastedBy[i].merge(&o.WastedBy[i])
	}
	theirs := o.histograms()
	for i, h := range t.histograms() {
		h.Merge(theirs[i])
	}
}

func (e *Example) merge(o *Example) {
	if e.older(o.Time, o.ID) {
		*e = *o
	}
}

// older says whether another connection takes e's place: one that is newer or, of
// the same time, of a lower identity, so that no order of telling shows.
func (e *Example) older(time int64, id uint64) bool {
	return time > e.Time || time == e.Time && id < e.ID
}

func (w *TimeWait) merge(o TimeWait) {
	w.Client += o.Client
	w.Server += o.Server
	w.None += o.None
}

// histograms lists those of f itself, not those of its traffic.
func (f *Figures) histograms() [16]*Histogram {
	return [...]*Histogram{
		&f.Exchanges, &f.Duration, &f.Age, &f.Limited, &f.CloseIdle[0], &f.CloseIdle[1],
		&f.AdvertisedTimeouts, &f.AdvertisedMax,
		&f.RepeatDelay, &f.StallsToEnd, &f.StallsOver, &f.Path.Dropped, &f.Path.Intervals,
		&f.HandshakeTimes[HandshakeTCP], &f.HandshakeTimes[HandshakeTLSFull], &f.HandshakeTimes[HandshakeTLSResumed],
	}
}

func (t *Traffic) histograms() [5]*Histogram {
	return [...]*Histogram{&t.PerConnection, &t.ReuseIdle, &t.RaceIdle, &t.ClosedAfter, &t.Crossed}
}

// reset empties f and keeps the memory of its histograms.
func (f *Figures) reset() {
	var empty Figures
	to := empty.histograms()
	for i, h := range f.histograms() {
		h.reset()
		*to[i] = *h
	}
	for i := range f.IdleClosings {
		f.IdleClosings[i].reset()
		empty.IdleClosings[i].ring = f.IdleClosings[i].ring
		f.Discards[i].reset()
		empty.Discards[i].ring = f.Discards[i].ring
	}
	f.StallsOpen.reset()
	empty.StallsOpen.ring = f.StallsOpen.ring
	f.Newest.reset()
	empty.Newest.ring = f.Newest.ring
	f.Clients.Reset()
	empty.Clients = f.Clients
	f.Counted.reset()
	empty.Counted = f.Counted
	*f = empty
}

// reset empties t and keeps the memory of its histograms.
func (t *Traffic) reset() {
	var empty Traffic
	to := empty.histograms()
	for i, h := range t.histograms() {
		h.reset()
		*to[i] = *h
	}
	*t = empty
}

func addAll[T uint32 | uint64 | int64](to, from []T) {
	for i := range to {
		to[i] += from[i]
	}
}
