package findings

// The thresholds: what a finding takes, and an alert on the same.
const (
	// MinWasted and MinWastedShare are what a habit that wastes handshakes takes:
	// so many, and so large a share of the reused requests + wasted handshakes.
	MinWasted      = 10
	MinWastedShare = 0.02

	// MinFailed requests of a kind that are MinFailedShare of all, or ManyFailed.
	MinFailed      = 3
	MinFailedShare = 0.01
	ManyFailed     = 100

	// MinReused reused requests, before a single race counts; else MinRaces.
	MinReused = 10
	MinRaces  = 2

	MinStale            = 2
	MinStaleShare       = 0.001
	MinIgnored          = 2 // closings that were ignored
	CriticalIgnored     = 10
	CriticalIgnoredRate = 0.001
	MinPathDrops        = 3
	MinPathIdle         = 10.0 // seconds of idling, from which on the path forgot and did not fail

	MinAttempts      = 5 // refused or unanswered, and MinAttemptShare of a server's; or all of MinAllAttempts
	MinAttemptShare  = 0.05
	MinAllAttempts   = 2
	MinRepeated      = 3 // handshakes that needed a SYN again, over MinRepeatedShare of at least MinHandshakes
	MinRepeatedShare = 0.02
	MinHandshakes    = 20
	MinMassClosings  = 2 // 1 with failed requests

	MinUnread      = 10 // bodies left half read, MinUnreadShare of the connections
	MinUnreadShare = 0.02
	MinStalled     = 3

	MinOnce          = 10 // connections of a client that carried one request, none another
	WarnSingleShare  = 0.90
	MinPoolReuse     = 0.10 // reuse ratio from which on there is a pool
	MinPoolBusy      = 0.75
	MinPoolRequests  = 40
	MinPoolClients   = 2 // connections
	MaxPoolGap       = 0.1
	MaxShortHint     = 2.0 // seconds that a server advertises
	MinLimitClosings = 10
	MinLimitNear     = 0.8 // of the closings within 10 % of their median count
	MinLimitTLS      = 4   // requests, where the side is not known
	MinLateIdle      = 0.1 // seconds from which on a closing is not right after the response, and may be a short timeout's
	MinLate          = 5   // of those, and MinLimitNear of the closings before minIdle
	minIdle          = 1.0 // seconds from which on a closing is an idle one
	MinUpgrades      = 10
	MinShortUpgrades = 0.5
	MinCut           = 5 // upgraded connections that a silence ended
	MinTunnels       = 10
	MinMoved         = 5 // closings by a client with an opening to another address, MinMovedShare of its closings
	MinMovedShare    = 0.9
	MinSpread        = 10
	MinSpreadShare   = 0.25
	MinProbes        = 5

	MinNeverUsed      = 10
	MinNeverUsedShare = 0.10
	MinPortsShare     = 0.5
	CriticalPorts     = 0.8
	MinSticky         = 1000 // requests
	MinUneven         = 1.5  // of the busiest address's even share
	MinStickyRequests = 100  // a connection
	MinStickyAge      = 60.0 // seconds, of half of the connections

	MaxFewStreams  = 3 // streams of a channel that was made for one call
	MinGRPCStreams = 100
	MinGRPCShare   = 0.9
	MinAtLimit     = 0.05 // of the time
	MaxMissing     = 0.05 // of packets or bytes

	// MinRequests is the least on which the totals are judged; WellEffectiveness is
	// from where on all is well.
	MinRequests       = 20
	WellEffectiveness = 0.95
)
