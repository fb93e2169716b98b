package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"

	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

const noSidecar = "No sidecar is scraped: check Prometheus' targets, and the variables above"

// remembered is how long a sidecar counts as missing after it stopped answering,
// whatever time range is shown.
const remembered = "1d"

// lossWarns is the share of lost packets from which on counts are noticeably too
// low; from findings.MaxMissing on, nothing is judged at all.
const lossWarns = findings.MaxMissing / 5

// known is the sidecars that have been scraped lately.
func (s scope) known() string {
	return "last_over_time(" + s.pick(exporter.BuildInfo) + "[" + remembered + "])"
}

// silent is those of them that don't answer.
func (s scope) silent() string {
	return s.pick(metricUp) + " == 0 and on (" + joined(perInstance) + ") " + s.known()
}

// lost is the share of packets that were lost before they could be analysed.
func (s scope) lost(window string, labels []string) string {
	dropped := s.rate(window, exporter.CaptureDropped)
	return ratio(sum(labels, dropped), sum(labels, either(dropped, s.rate(window, exporter.CapturePackets))))
}

// incomplete is the share of ended connections that lack bytes where they mattered.
func (s scope) incomplete(window string, labels []string) string {
	return ratio(sum(labels, s.rate(window, exporter.IncompleteConnections)), sum(labels, s.rate(window, exporter.ConnectionsClosed)))
}

// trust is on every dashboard: no figure is shown without what the capture
// missed. It is a small tile of one value: how many of four checks fail, -1
// where there is nothing to check, which is as bad.
func (c Config) trust() *stat.PanelBuilder {
	s := targetScope
	failing := func(condition string) string { return "(count(" + condition + ") > bool 0 or vector(0))" }
	checks := []string{
		failing(s.silent()),
		failing(fmt.Sprintf("%s > %g or %s == 0", s.lost(rateInterval, by(labelInstance)), lossWarns,
			sum(by(labelInstance), s.rate(wholeRange, exporter.CapturePackets)))),
		failing(fmt.Sprintf("%s > %g", s.incomplete(rateInterval, nil), findings.MaxMissing)),
		failing(sum(nil, s.rate(rateInterval, exporter.EvictedConnections)) + " > 0"),
	}
	expr := "0 * count(" + s.known() + ")"
	for _, check := range checks {
		expr += " + " + check
	}
	t := text{
		title: "Can these be trusted?",
		unit:  unitNumber,
		about: fmt.Sprintf("Four checks of the capture: every sidecar answers (scraped within a day), each captures packets and loses at most %g %% of them, at most %g %% of connections are incomplete, none was given up because the table was full. Good: 4 checks ok. Else Capture health says which sidecar it is; until then, counts are too low.", 100*lossWarns, 100*findings.MaxMissing),
		empty: noSidecar,
	}
	return numbers(t, query{expr: expr + " or vector(-1)", legend: "checks"}).
		TextMode(common.BigValueTextModeValue).
		Mappings([]dashboard.ValueMapping{toText(map[string]dashboard.ValueMappingResult{
			"-1": {Text: ref("no sidecar"), Color: ref(bad), Index: ref(int32(0))},
			"0":  {Text: ref("4 checks ok"), Color: ref(plain), Index: ref(int32(1))},
			"1":  {Text: ref("1 of 4 fails"), Color: ref(bad), Index: ref(int32(2))},
			"2":  {Text: ref("2 of 4 fail"), Color: ref(bad), Index: ref(int32(3))},
			"3":  {Text: ref("3 of 4 fail"), Color: ref(bad), Index: ref(int32(4))},
			"4":  {Text: ref("4 of 4 fail"), Color: ref(bad), Index: ref(int32(5))},
		}), withoutValue(bad)}).
		Links([]cog.Builder[dashboard.DashboardLink]{
			dashboard.NewDashboardLinkBuilder("Capture health").Type(dashboard.DashboardLinkTypeLink).
				Url(c.linkTo("capture", "")).Icon("external link").Tooltip("").Tags([]string{}),
		})
}
