package dashboards

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/keepscope/keepscope/exporter"
)

type variable = cog.Builder[dashboard.VariableModel]

func option(text, value string) dashboard.VariableOption {
	return dashboard.VariableOption{
		Selected: ref(true),
		Text:     dashboard.StringOrArrayOfString{String: &text},
		Value:    dashboard.StringOrArrayOfString{String: &value},
	}
}

// datasourceVariable chooses the Prometheus that the dashboard asks. It names
// none, so that Grafana takes its default one.
func datasourceVariable() variable {
	return dashboard.NewDatasourceVariableBuilder("datasource").
		Label("Data source").
		Type("prometheus").
		Description("The Prometheus that scrapes Keepscope.")
}

// labelVariable offers the values that a label has on the metric among the
// series that the variables before it leave. "All" is the regular expression
// .*, which selects series without the label, too: so a host without Kubernetes
// needs no other dashboard.
func labelVariable(name, title, label, metric string, before scope) *dashboard.QueryVariableBuilder {
	return valuesVariable(name, title, label, metric, before).
		Multi(true).
		IncludeAll(true).
		AllValue(".*").
		Current(option("All", "$__all"))
}

func valuesVariable(name, title, label, metric string, before scope) *dashboard.QueryVariableBuilder {
	query := "label_values(" + before.pick(metric) + ", " + label + ")"
	return dashboard.NewQueryVariableBuilder(name).
		Label(title).
		Datasource(datasourceRef).
		Query(dashboard.StringOrMap{Map: map[string]any{
			"qryType": 1, // label values
			"query":   query,
			"refId":   "PrometheusVariableQueryEditor-VariableQuery",
		}}).
		Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc)
}

// targetVariables say which sidecars the dashboard is about.
func targetVariables() []variable {
	vars := []variable{datasourceVariable()}
	for i, v := range []struct{ name, title string }{
		{labelCluster, "Cluster"}, {labelNamespace, "Namespace"}, {labelPod, "Pod"}, {labelJob, "Job"},
	} {
		vars = append(vars, labelVariable(v.name, v.title, v.name, exporter.BuildInfo, targetScope[:i]))
	}
	return vars
}

func directionVariable() variable {
	return labelVariable(exporter.LabelDirection, "Direction", exporter.LabelDirection, exporter.ConnectionsOpened, targetScope).
		Description("Of connections as the sidecar sees them. Where both ends of a connection have a sidecar, choose outbound or inbound, or it is counted twice.")
}

// serversVariable selects any number of servers.
func serversVariable() variable {
	return labelVariable(serversName, "Servers", exporter.LabelServer, exporter.ConnectionsOpened, fleetScope[:len(fleetScope)-1])
}

// serverVariable selects one server.
func serverVariable() variable {
	return valuesVariable(exporter.LabelServer, "Server", exporter.LabelServer, exporter.ConnectionsOpened, serverScope[:len(serverScope)-1])
}

// intervalVariable is the least distance of two points. Rates are taken over it
// and a scrape more, so it is also how smooth the curves are.
func intervalVariable() variable {
	values := "15s,30s,1m,5m,15m,1h"
	var options []dashboard.VariableOption
	for v := range strings.SplitSeq(values, ",") {
		o := option(v, v)
		o.Selected = ref(v == "1m")
		options = append(options, o)
	}
	return dashboard.NewIntervalVariableBuilder("interval").
		Label("Interval").
		Description("The shortest time that a point stands for. It has to be longer than the scrape interval.").
		Values(dashboard.StringOrMap{String: &values}).
		Options(options).
		Current(option("1m", "1m"))
}
