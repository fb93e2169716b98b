package story

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/analyzer/fact"
)

// narrow is a story that needs no room.
func narrow(verdict fact.Verdict) *Story {
	return &Story{Length: 1e6, Lanes: []Lane{{Label: "c1", Verdict: verdict.String(), Opening: []Phase{{What: "tcp", Lasts: 1e3}}}}}
}

// TestLegendFits holds that the narrowest drawing has room for all of its legend.
func TestLegendFits(t *testing.T) {
	const last = "what would have been enough"
	drawn := regexp.MustCompile(`(?s)<svg [^>]* width="(\d+)".*<text x="([\d.]+)"[^>]*>` + last).FindStringSubmatch(narrow(fact.VerdictNeeded).svg(true))
	if drawn == nil {
		t.Fatal("no legend")
	}
	width, _ := strconv.ParseFloat(drawn[1], 64) // it matched
	x, _ := strconv.ParseFloat(drawn[2], 64)
	if end := x + softWidth*float64(len(last)); end > width {
		t.Errorf("the legend ends at %.0f, the drawing at %.0f", end, width)
	}
}

// TestWastedIsRed holds that a wasted handshake is drawn as one, also where it is not known
// which connection could have carried its request.
func TestWastedIsRed(t *testing.T) {
	for verdict, want := range map[fact.Verdict]string{fact.VerdictNeeded: "open", fact.VerdictWasted: "waste"} {
		var d drawing
		s := narrow(verdict)
		d.axis, _ = newAxis(s, 720)
		d.lane(&s.Lanes[0])
		if got := d.String(); !strings.Contains(got, `class="`+want+`"/>`) {
			t.Errorf("%v is not %s: %s", verdict, want, got)
		}
	}
}
