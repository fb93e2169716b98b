package exporter

import "time"

// evictAfter is how long a server without open connections must have been idle
// to make room for another.
const evictAfter = int64(time.Hour)

// evict forgets servers that are long idle, for others that found no room. All
// workers stand still meanwhile.
func (e *Exporter) evict() {
	newest := int64(0)
	for _, t := range e.sum {
		newest = max(newest, t.active)
	}
	var idle []key
	for k, t := range e.sum {
		if !k.other && t.open <= 0 && t.active < newest-evictAfter {
			idle = append(idle, k)
		}
	}
	if len(idle) > 0 {
		e.hold(0, func() {
			for _, k := range idle {
				e.forget(k, newest-evictAfter)
			}
		})
	}
}

// hold runs f while the workers from i on stand still.
func (e *Exporter) hold(i int, f func()) {
	if i == len(e.sources) {
		f()
		return
	}
	e.sources[i].do(func() { e.hold(i+1, f) })
}

// forget drops a server unless it has become active. It runs in hold.
func (e *Exporter) forget(k key, limit int64) {
	open := int64(0)
	for _, s := range e.sources {
		if b := s.recorder.blocks[k]; b != nil {
			if b.active >= limit {
				return
			}
			open += b.open
		}
	}
	if open > 0 {
		return
	}
	for _, s := range e.sources {
		s.recorder.forget(k)
	}
	e.servers.forget(k)
	delete(e.sum, k)
}
