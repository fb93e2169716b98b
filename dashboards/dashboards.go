package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// A Config says how the dashboards and rules differ from those that Keepscope
// ships. Its zero value is what it ships.
type Config struct {
	// UIDPrefix begins the dashboards' uids, which links between them use.
	// Default "keepscope".
	UIDPrefix string
	// TitlePrefix begins their titles. Default "Keepscope".
	TitlePrefix string
	// Tags are theirs in Grafana; links in their heads lead to every dashboard
	// with the first. Default "keepscope".
	Tags []string
	// DeployTag is the tag of the annotations that are shown as deploys. Default
	// "deploy".
	DeployTag string
	// ShowClusters shows the variables of cluster and job among the others: for
	// a Prometheus that holds several.
	ShowClusters bool
	// Grafana is the address of Grafana, which links in alerts begin with, such as
	// "https://grafana.example". Default empty: the links are paths.
	Grafana string
	// Runbook is the address of runbook.md, which alerts point into. Default the
	// one in Keepscope's repository.
	Runbook string
}

func (c Config) withDefaults() Config {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.UIDPrefix, "keepscope")
	set(&c.TitlePrefix, "Keepscope")
	set(&c.DeployTag, "deploy")
	set(&c.Runbook, "https://github.com/keepscope/keepscope/blob/main/dashboards/runbook.md")
	if len(c.Tags) == 0 {
		c.Tags = []string{"keepscope"}
	}
	return c
}

// uid returns a dashboard's uid.
func (c Config) uid(name string) string { return c.UIDPrefix + "-" + name }

// A board is a dashboard before it is put together.
type board struct {
	name, title, about string
	variables          []variable
	bands              []band
}

// build puts the board together.
func (c Config) build(b board) (dashboard.Dashboard, error) {
	built := dashboard.NewDashboardBuilder(c.TitlePrefix+" / "+b.title).
		Uid(c.uid(b.name)).
		Description(b.about).
		Tags(c.Tags).
		Timezone("browser").
		Editable().
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Time("now-1h", "now").
		Refresh("1m").
		Variables(b.variables).
		Annotations([]cog.Builder[dashboard.AnnotationQuery]{c.deploys(), sidecarStarts()}).
		Link(dashboard.NewDashboardLinkBuilder("Keepscope dashboards").
			Type(dashboard.DashboardLinkTypeDashboards).
			Icon("external link").
			Tooltip("").
			Tags(c.Tags[:1]).
			AsDropdown(true).
			IncludeVars(true).
			KeepTime(true))
	d, err := built.Build()
	if err != nil {
		return d, fmt.Errorf("building dashboard %s: %w", b.name, err)
	}
	// The SDK hides links and annotations in a menu unless told otherwise.
	for i := range d.Links {
		d.Links[i].Placement = nil
	}
	for i := range d.Annotations.List {
		d.Annotations.List[i].Placement = nil
	}
	d.Panels, err = place(b.bands)
	if err != nil {
		return d, fmt.Errorf("building dashboard %s: %w", b.name, err)
	}
	return d, d.Validate()
}

// deploys shows the annotations that a deployment pipeline leaves in Grafana.
func (c Config) deploys() cog.Builder[dashboard.AnnotationQuery] {
	tags := variants.UnknownDataquery{
		"limit":    100,
		"matchAny": true,
		"tags":     []string{c.DeployTag},
		"type":     "tags",
	}
	return dashboard.NewAnnotationQueryBuilder().
		Name("Deploys").
		Datasource(common.DataSourceRef{Type: ref("grafana"), Uid: ref("-- Grafana --")}).
		Enable(true).
		IconColor(violet).
		Target(variants.NewUnknownDataqueryBuilderFromObject(tags))
}

// sidecarStarts shows when sidecars began, which with a new pod is when its
// application did. It is off at first: in a fleet that scales there are many.
func sidecarStarts() cog.Builder[dashboard.AnnotationQuery] {
	started := "time() - " + targetScope.pick(metricStartTime) + " < 90"
	return dashboard.NewAnnotationQueryBuilder().
		Name("Sidecar starts").
		Datasource(datasourceRef).
		Enable(false).
		IconColor(teal).
		Target(prometheus.NewDataqueryBuilder().
			Datasource(datasourceRef).
			RefId("Starts").
			Expr(targetScope.ownProcess(started)).
			Range().
			LegendFormat(legendOf(labelInstance)))
}

// linkTo returns the address of another of the dashboards, with what is chosen
// in this one, but for the direction.
func (c Config) linkTo(name string, more string) string {
	link := "/d/" + c.uid(name) + "?${datasource:queryparam}"
	for _, v := range []string{labelCluster, labelNamespace, labelPod, labelJob} {
		link += "&${" + v + ":queryparam}"
	}
	return link + more + "&${__url_time_range}"
}

// Dashboards returns all dashboards.
func Dashboards(c Config) ([]dashboard.Dashboard, error) {
	var all []dashboard.Dashboard
	for _, build := range []func(Config) (dashboard.Dashboard, error){Overview, Server, Capture} {
		d, err := build(c)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// A File is a file that Grafana or Prometheus reads.
type File struct {
	Name    string
	Content []byte
}

// Files returns every file: the dashboards as JSON, each named by its uid, and
// the recording and the alerting rules as YAML.
func Files(c Config) ([]File, error) {
	boards, err := Dashboards(c)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, d := range boards {
		content, err := encode(d)
		if err != nil {
			return nil, fmt.Errorf("encoding dashboard %s: %w", *d.Uid, err)
		}
		files = append(files, File{*d.Uid + ".json", content})
	}
	for _, r := range []struct {
		name   string
		groups []Group
	}{
		{"recording-rules", RecordingRules(c)},
		{"alerting-rules", AlertingRules(c)},
	} {
		content, err := encodeRules(r.groups)
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", r.name, err)
		}
		files = append(files, File{c.withDefaults().uid(r.name) + ".yaml", content})
	}
	return files, nil
}

// encode returns the dashboard as JSON that a person can read and compare:
// the types of the SDK encode < and > as escapes, which JSON does not need.
func encode(d dashboard.Dashboard) ([]byte, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	for escaped, plain := range map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"} {
		raw = bytes.ReplaceAll(raw, []byte(escaped), []byte(plain))
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return nil, err
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}
