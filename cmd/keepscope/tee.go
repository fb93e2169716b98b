package main

import "github.com/keepscope/keepscope/analyzer"

// join returns an observer that hands everything to each of several, and is an
// analyzer.Watcher if one of them is.
func join(observers ...analyzer.Observer) analyzer.Observer {
	if len(observers) == 1 {
		return observers[0]
	}
	var watchers []analyzer.Watcher
	for _, o := range observers {
		if w, ok := o.(analyzer.Watcher); ok {
			watchers = append(watchers, w)
		}
	}
	if watchers == nil {
		return tee(observers)
	}
	return watchTee{observers, watchers}
}

// A tee hands facts to several observers.
type tee []analyzer.Observer

func (t tee) Exchange(e *analyzer.Exchange) {
	for _, o := range t {
		o.Exchange(e)
	}
}

func (t tee) Connection(c *analyzer.Connection) {
	for _, o := range t {
		o.Connection(c)
	}
}

// A watchTee is a tee of which some do not want to wait for the end.
type watchTee struct {
	tee
	watchers []analyzer.Watcher
}

func (t watchTee) Opened(c *analyzer.Connection) {
	for _, w := range t.watchers {
		w.Opened(c)
	}
}

func (t watchTee) Judged(c *analyzer.Connection) {
	for _, w := range t.watchers {
		w.Judged(c)
	}
}
