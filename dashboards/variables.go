package dashboards

import (
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

// targetVariables say which sidecars the dashboard is about. Grafana can't hide
// a variable that has no values, and a line is all that there is room for: those
// of cluster and job are in the menu of controls unless the Config shows them.
func (c Config) targetVariables() []variable {
	vars := []variable{datasourceVariable()}
	for i, v := range []struct{ name, title string }{
		{labelCluster, "Cluster"}, {labelNamespace, "Namespace"}, {labelPod, "Pod"}, {labelJob, "Job"},
	} {
		one := labelVariable(v.name, v.title, v.name, exporter.BuildInfo, targetScope[:i])
		if !c.ShowClusters && (v.name == labelCluster || v.name == labelJob) {
			one.Hide(dashboard.VariableHideInControlsMenu)
		}
		vars = append(vars, one)
	}
	return vars
}

func directionVariable() variable {
	return labelVariable(exporter.LabelDirection, "Direction", exporter.LabelDirection, exporter.ConnectionsOpened, targetScope).
		Description("Of connections as the sidecar sees them. Where both ends of a connection have a sidecar, choose outbound or inbound, or it is counted twice.")
}

// serverVariable selects one server.
func serverVariable() variable {
	return valuesVariable(exporter.LabelServer, "Server", exporter.LabelServer, exporter.ConnectionsOpened, serverScope[:len(serverScope)-1])
}
