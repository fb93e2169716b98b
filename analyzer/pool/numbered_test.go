package pool

// numbered are Pools that keep their connections themselves, by number.
type numbered struct {
	*Pools
	conns []Conn
}

func newNumbered(cfg Config) *numbered {
	p := &numbered{}
	cfg.Conn = func(id uint32) *Conn { return &p.conns[id] }
	p.Pools = New(cfg)
	return p
}

// conn returns the Conn of a number, and makes it if there is none.
func (p *numbered) conn(id uint32) *Conn {
	if n := int(id) + 1; n > len(p.conns) {
		p.conns = append(p.conns, make([]Conn, n-len(p.conns))...)
	}
	return &p.conns[id]
}

func (p *numbered) SYN(id uint32, key *Pair, t int64) (Verdict, Reason) {
	return p.Pools.SYN(p.conn(id), id, key, t)
}

func (p *numbered) Move(id uint32, key *Pair, syn int64) (Verdict, Reason) {
	return p.Pools.Move(p.conn(id), key, syn)
}

func (p *numbered) Midstream(id uint32, key *Pair, t int64) {
	p.Pools.Midstream(p.conn(id), id, key, t)
}

func (p *numbered) Request(id uint32, t int64)            { p.Pools.Request(p.conn(id), t) }
func (p *numbered) Idle(id uint32, t int64)               { p.Pools.Idle(p.conn(id), t) }
func (p *numbered) Unusable(id uint32, why Reason)        { p.Pools.Unusable(p.conn(id), why) }
func (p *numbered) Closed(id uint32, t int64, why Reason) { p.Pools.Closed(p.conn(id), t, why) }
func (p *numbered) Release(id uint32, t int64)            { p.Pools.Release(p.conn(id), t) }
