package columnar

import (
	"sync"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/events"
)

// Connections returns how connections become rows.
var Connections = sync.OnceValue(func() *Format[fact.Connection] {
	return New("connection", events.Connections)
})
