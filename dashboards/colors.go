package dashboards

import (
	"fmt"

	"github.com/keepscope/keepscope/analyzer/fact"
)

// A colour has one meaning wherever it is used. Blue is what the client can
// change, orange what the server can, magenta what lies between them, brown what
// both can, grey what nobody can be blamed for; green rates well and crimson
// badly; violet, teal and slate mean nothing and tell series apart. They come from
// those of Okabe and Ito (Color Universal Design, 2008), with a lightness
// that stands out from a white and from a dark page.
const (
	green   = "#009E73"
	crimson = "#D1264A"
	violet  = "#7D6BC4"
	teal    = "#3D8B99"
	slate   = "#6B7C8C" // calm: nothing to see here
	plain   = "text"    // Grafana's own, dark on light and light on dark
)

// What colours mean wherever they rate something.
const (
	good = green
	bad  = crimson
)

// blameTones are colours of one hue for each side, all different.
var blameTones = map[fact.Blame][]string{
	fact.BlamesClient: {"#0072B2", "#6DB9E8", "#00507D", "#3E97D1", "#A9D8F5", "#1C86C8", "#5A7FA8", "#003A5C", "#88AFCF", "#2F6690", "#C3E3F6"},
	fact.BlamesServer: {"#B87700", "#EDB84C", "#7A4F00", "#D9920A", "#F6D796", "#94651A", "#C9A15B", "#5C3B00", "#E6A93C", "#A58241", "#FBE8C2"},
	fact.BlamesPath:   {"#B0578D", "#D79BC0"},
	fact.BlamesBoth:   {"#8A5A44", "#BC8E79", "#5E3A2A", "#D3B3A4"},
	fact.BlamesNobody: {"#7F868D", "#B4B9BE", "#565C62", "#989EA4", "#D0D4D8", "#6A7178", "#A6ACB2", "#454A4F", "#C2C7CC"},
}

// cellBad is bad as the background of a cell.
const cellBad = "#A8202B"

// cellColors are the backgrounds of cells that name a habit: Grafana writes on
// them in white.
var cellColors = map[fact.Blame]string{
	fact.BlamesClient: "#0B6396",
	fact.BlamesServer: "#8A5900",
	fact.BlamesPath:   "#94386F",
	fact.BlamesBoth:   "#7A4C37",
	fact.BlamesNobody: "#5B6670",
}

// toneOf returns the colour of each habit and reason: the hue says on which
// side the setting is that would change it.
var toneOf = func() map[string]string {
	next, colors := map[fact.Blame]int{}, map[string]string{}
	give := func(name string, side fact.Blame) {
		if colors[name] == "" {
			colors[name] = blameTones[side][next[side]]
			next[side]++
		}
	}
	for _, frequent := range []string{fact.PoolMiss.String(), fact.ReasonServerIdle.String()} { // they get the clearest
		give(frequent, blamed(frequent))
	}
	for _, why := range whys() {
		give(why, blamed(why))
	}
	for r := range fact.NumReasons {
		give(r.String(), r.Blames())
	}
	return colors
}()

// tone is the colour of a habit, a reason or a cause.
func tone(of fmt.Stringer) string { return toneOf[of.String()] }

// outcomes are the colours of what an exchange negotiated: green keeps the
// connection.
func outcomes() []style {
	var styles []style
	for o := range fact.NumOutcomes {
		color := tone(o)
		switch o {
		case fact.KeepAlive:
			color = green
		case fact.Incomplete:
			color = blameTones[fact.BlamesNobody][6]
		case fact.UnknownOutcome:
			color = blameTones[fact.BlamesNobody][7]
		default:
		}
		styles = append(styles, style{series: o.String(), color: color})
	}
	return styles
}
