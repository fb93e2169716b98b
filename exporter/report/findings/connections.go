package findings

import (
	"fmt"

	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report/advice"
)

// connectionRules are about connections as such.
var connectionRules = []rule{
	{"never_used", Info, onConnections, true, neverUsed},
	{"unused_tls", Info, onConnections, true, unusedTLS},
	{"ports", Warning, onConnections, false, portsRunOut},
	{"too_sticky", Info, onBoth, false, tooSticky},
	{"upgrades_cut", Warning, onConnections, false, upgradesCut},
	{"heads_cut", Warning, onConnections, true, headsCut},
}

func neverUsed(v *view) (hit, bool) {
	return v.unused(v.NeverUsed, "carried nothing from either side",
		"Find who connects and asks nothing: TCP health checks (let them ask over HTTP, or less often), preconnecting browsers, "+
			"a pool's minimum size above what the traffic needs")
}

func unusedTLS(v *view) (hit, bool) {
	return v.unused(v.UnusedTLS, "made a TLS handshake and asked nothing",
		"Find who connects and asks nothing: clients that dial several connections and learn that one HTTP/2 connection takes all, "+
			"preconnecting browsers, TLS health checks")
}

func (v *view) unused(l Loss, what, note string) (hit, bool) {
	if l.N < MinNeverUsed || share(l.N, v.Connections) < MinNeverUsedShare {
		return hit{}, false
	}
	text := fmt.Sprintf("%s of %s %s", prose.Count(l.N), prose.Plural(v.Connections, "connection"), what)
	if l.Seconds > 0 {
		text += "; opening them took " + prose.Seconds(l.Seconds)
	}
	return hit{
		summary: text + ".", note: note, loss: Loss{Seconds: l.Seconds, Example: l.Example},
		evidence: map[string]float64{"unused_connections": float64(l.N), "connections": float64(v.Connections)},
	}, true
}

func portsRunOut(v *view) (hit, bool) {
	p := &v.Ports
	if p.Range == 0 || share(p.Peak, p.Range) < MinPortsShare || p.Closed == 0 || 2*p.HeldByClient < p.Closed {
		return hit{}, false
	}
	h := hit{
		summary: fmt.Sprintf("%s opened %s to %s in 60 s and holds their TIME_WAIT: it has %s ports.",
			p.Client, prose.Plural(p.Peak, "connection"), p.Server, prose.Count(p.Range)),
		evidence: map[string]float64{"peak_new_connections_per_minute": float64(p.Peak), "ports": float64(p.Range), "time_wait_client": float64(p.HeldByClient)},
		note: "Keep connections instead of opening them (see the other findings). Until then: `net.ipv4.ip_local_port_range = 1024 65535` and " +
			"`net.ipv4.tcp_tw_reuse = 1` on the client, or more addresses on either side",
		clients: func(c *Client) uint64 {
			if c.Address == p.Client {
				return p.Peak
			}
			return 0
		},
	}
	if share(p.Peak, p.Range) >= CriticalPorts {
		h.severity = Critical
	}
	return h, true
}

func tooSticky(v *view) (hit, bool) {
	uneven := v.BusiestShare * float64(v.AddressCount)
	if v.AddressCount < 2 || v.t.Requests < MinSticky || uneven < MinUneven || v.t.RequestsPerConn < MinStickyRequests || v.Age < MinStickyAge {
		return hit{}, false
	}
	return hit{
		summary: fmt.Sprintf("Connections live so long that load cannot spread: the busiest of %s serves %s, and a connection carries %s over %s.",
			addresses(v.AddressCount), prose.Percent(v.BusiestShare), prose.Plural(uint64(v.t.RequestsPerConn), "request"), prose.Seconds(v.Age)),
		evidence: map[string]float64{
			"addresses": float64(v.AddressCount), "busiest_share": v.BusiestShare,
			"requests_per_connection": v.t.RequestsPerConn, "connection_seconds_p50": v.Age,
		},
		habit: advice.TooSticky,
	}, true
}

func upgradesCut(v *view) (hit, bool) {
	c := &v.Cut
	if !c.holds(MinCut) {
		return hit{}, false
	}
	return hit{
		summary: fmt.Sprintf("The server ended %s (WebSocket) after %s without a message: a time limit of it, or of a proxy that answers in its name.",
			prose.Plural(c.N, "upgraded connection"), prose.Seconds(c.Median)),
		evidence: map[string]float64{"upgrades_ended": float64(c.N), "silence_seconds_p50": c.Median},
		habit:    advice.UpgradesCut,
	}, true
}

func headsCut(v *view) (hit, bool) {
	if v.CutHeads == 0 {
		return hit{}, false
	}
	text := prose.Plural(v.CutHeads, "request head")
	if v.CutHeads == 1 {
		text += " was"
	} else {
		text += " were"
	}
	text += " cut by the capture's snaplen: what they negotiated is not known"
	if v.CutLost > 0 {
		text += fmt.Sprintf(", and %s more were lost", prose.Count(v.CutLost))
	}
	return hit{
		summary: text + ".", note: "Capture with a larger snaplen (tcpdump `-s 0`)",
		evidence: map[string]float64{"heads_cut": float64(v.CutHeads), "heads_lost": float64(v.CutLost)},
	}, true
}
