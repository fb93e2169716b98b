package reassembly

import "github.com/keepscope/keepscope/sniffer"

const (
	// maxDrift is how far a frame's time may lie from the newest one without a
	// question. Deadlines allow for packets that are older by as much.
	maxDrift = lingerSlack

	// maxLook is how many frames behind one whose time is far off are asked. It
	// bounds the work that a capture full of such times can make.
	maxLook = 64
)

// A Clock mends the times of frames that are stamped far ahead or far back, in
// the order of capture and before they are shared out among Assemblers: what one
// such frame does must not depend on which of them it goes to. A time more than
// 2 s from the newest one before it is believed if the frames after it go on
// there, for captures have pauses; if they go on where the capture was, it is
// replaced by the newest time before it. Ties go to where the capture was. The
// zero value is ready.
type Clock struct {
	Mended uint64 // frames whose times were replaced

	now     int64 // newest time that was believed
	started bool
}

// Now returns the newest time that was believed, 0 before the first.
func (k *Clock) Now() int64 { return k.now }

// Mend replaces the times of frames that are far off. The end of frames is all
// that it knows of what follows; a time that nothing follows is believed.
func (k *Clock) Mend(frames []sniffer.Frame) {
	for i := range frames {
		t := &frames[i].Time
		switch d := *t - k.now; {
		case !k.started:
			k.now, k.started = *t, true
		case d >= -maxDrift && d <= maxDrift:
			k.now += max(d, 0)
		case k.strays(frames[i:]):
			*t = k.now
			k.Mended++
		default:
			k.now = *t
		}
	}
}

// strays reports whether the first frame's time is an outlier: of the next ones
// at least as many are near the newest time before it as are near its own.
func (k *Clock) strays(frames []sniffer.Frame) bool {
	own, here, there := frames[0].Time, 0, 0
	for i := range min(len(frames)-1, maxLook) {
		t := frames[1+i].Time
		if near(t, k.now) {
			here++
		} else if near(t, own) {
			there++
		}
	}
	return here > 0 && here >= there
}

// near reports whether two times are within maxDrift.
func near(x, y int64) bool { return x-y <= maxDrift && y-x <= maxDrift }
