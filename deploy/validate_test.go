package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// A verdict is what deploy/validate says of an object, or of a file.
type verdict struct {
	File, Kind, PodSecurity string
	Errors, Forbidden       []string
}

func validate(t *testing.T, kind string, files ...string) (verdicts []verdict) {
	t.Helper()
	out := output(t, tool(t, "deploy-validate"), append([]string{kind}, files...)...)
	if err := json.Unmarshal(out, &verdicts); err != nil {
		t.Fatal(err)
	}
	if len(verdicts) < len(files) {
		t.Fatalf("%d verdicts on %d files", len(verdicts), len(files))
	}
	return verdicts
}

// write makes a file of a text.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replace replaces the one place that there must be.
func replace(t *testing.T, text, before, after string) string {
	t.Helper()
	if n := strings.Count(text, before); n != 1 {
		t.Fatalf("%q is there %d times", before, n)
	}
	return strings.Replace(text, before, after, 1)
}

// The API server accepts what is shipped and warns of nothing, and its Pod
// Security admission wants the levels that README.md says.
func TestAPIServerAccepts(t *testing.T) {
	const addsNetRaw, capability = "baseline: non-default capabilities", "restricted: unrestricted capabilities"
	sidecar := []string{addsNetRaw, capability}
	node := []string{
		addsNetRaw, "baseline: host namespaces", "baseline: hostPort",
		"restricted: host namespaces", "restricted: hostPort", capability,
	}
	for name, text := range rendered(t) {
		for _, got := range validate(t, "kubernetes", write(t, string(text))) {
			for _, err := range got.Errors {
				t.Errorf("%s: %s: %s", name, got.Kind, err)
			}
			var level string
			var forbidden []string
			switch {
			case got.Kind == "DaemonSet":
				level, forbidden = "privileged", node
			case got.Kind == "Deployment" && strings.Contains(name, "baseline"):
				// It drops by name, which restricted wants to be ALL.
				level, forbidden = "baseline", []string{capability}
			case got.Kind == "Deployment", got.Kind == "Job", got.Kind == "CronJob":
				level, forbidden = "privileged", sidecar
			}
			if got.PodSecurity != level || !slices.Equal(got.Forbidden, forbidden) {
				t.Errorf("%s: %s: level %q, where %q", name, got.Kind, got.PodSecurity, got.Forbidden)
			}
		}
	}
}

// What schemas let pass.
func TestAPIServerRefuses(t *testing.T) {
	tests := []struct{ name, before, after, want string }{
		{"unknown field", "        livenessProbe:\n", "        livenessProb: {}\n        livenessProbe:\n", `unknown field "spec.template.spec.initContainers[0].livenessProb"`},
		{"no name of a port", "            port: health\n", "            port: Heal_th\n", "livenessProbe.httpGet.port"},
		{"long name of a port", "          name: keepscope\n", "          name: keepscope-metrics\n", "ports[0].name"},
		{"request above limit", "            memory: 48Mi\n", "            memory: 512Mi\n", "must be less than or equal to memory limit"},
		{"probe of an init container that ends", "        restartPolicy: Always\n", "", "livenessProbe: Forbidden"},
		{"restart policy of a container", "      - image: nginx", "      - restartPolicy: Sometimes\n        image: nginx", "restartPolicy"},
		{"no such field", "fieldPath: spec.nodeName", "fieldPath: spec.node", "fieldPath"},
		{"privileged without escalation", "          privileged: false\n", "          privileged: true\n", "allowPrivilegeEscalation"},
		{"selector of others", "    matchLabels:\n      app.kubernetes.io/name: web\n", "    matchLabels:\n      app: web\n", "`selector` does not match template `labels`"},
		{"set twice", "        - name: KEEPSCOPE_MEMORY_LIMIT\n", "        - name: POD_NAME\n", "hides previous definition"},
		{"no such version", "apiVersion: apps/v1\n", "apiVersion: apps/v2\n", "no kind"},
	}
	text := read(t, "kubernetes/sidecar.yaml")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := validate(t, "kubernetes", write(t, replace(t, text, tt.before, tt.after)))
			if said := strings.Join(got[0].Errors, "\n"); !strings.Contains(said, tt.want) {
				t.Errorf("not refused for %q: %s", tt.want, said)
			}
		})
	}
}

// What kubectl debug adds to a pod that restricted admits is a container that no
// level but privileged does.
func TestDebugContainer(t *testing.T) {
	var custom object
	if err := yaml.Unmarshal([]byte(read(t, "kubernetes/debug.yaml")), &custom); err != nil {
		t.Fatal(err)
	}
	app := documents(t, []byte(read(t, "kubernetes/example/app.yaml")))[0]
	pod := object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "web-0"}, "spec": at(app, "spec", "template", "spec")}
	verdict := func() verdict {
		text, err := yaml.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		return validate(t, "kubernetes", write(t, string(text)))[0]
	}
	if got := verdict(); len(got.Errors) > 0 || got.PodSecurity != "restricted" {
		t.Fatalf("the app alone: %+v", got)
	}
	custom["name"], custom["image"] = "debugger", "keepscope/keepscope:0.1.0"
	custom["command"] = []string{"/keepscope", "watch", "-i", "any"}
	at(pod, "spec").(object)["ephemeralContainers"] = []object{custom}
	got := verdict()
	want := []string{"baseline: non-default capabilities", "restricted: unrestricted capabilities"}
	if len(got.Errors) > 0 || got.PodSecurity != "privileged" || !slices.Equal(got.Forbidden, want) {
		t.Errorf("%+v", got)
	}
	custom["ports"] = []object{{"containerPort": 9737}}
	if got := verdict(); len(got.Errors) == 0 {
		t.Error("an ephemeral container with a port was accepted")
	}
}

func TestPrometheusReadsItsConfiguration(t *testing.T) {
	for _, got := range validate(t, "prometheus", "compose/prometheus.yml", "prometheus/kubernetes.yaml") {
		for _, err := range got.Errors {
			t.Errorf("%s: %s", got.File, err)
		}
	}
	promtool := tool(t, "promtool")
	for _, kind := range []string{"recording", "alerting"} {
		output(t, promtool, "check", "rules", "../dashboards/generated/keepscope-"+kind+"-rules.yaml")
	}
}

func TestPrometheusRefuses(t *testing.T) {
	text := read(t, "prometheus/kubernetes.yaml")
	for before, after := range map[string]string{
		"role: pod":             "role: pods",
		"regex: keepscope":      "regex: (keepscope",
		"target_label: pod":     "target_lable: pod",
		"kubernetes_sd_configs": "kubernetes_sd_config",
		"scrape_interval: 30s":  "scrape_interval: 30",
	} {
		if got := validate(t, "prometheus", write(t, replace(t, text, before, after))); len(got[0].Errors) == 0 {
			t.Errorf("%q: accepted", after)
		}
	}
}

func TestComposeReadsItsFile(t *testing.T) {
	const path = "compose/compose.yaml"
	for _, err := range validate(t, "compose", path)[0].Errors {
		t.Error(err)
	}
	for before, after := range map[string]string{
		"    read_only: true\n":     "    readonly: true\n",
		"mem_limit: 128m":           "mem_limit: lots",
		"network_mode: service:app": "network_mode: service:nginx",
		"depends_on: [prometheus]":  "depends_on: [prom]",
	} {
		if got := validate(t, "compose", write(t, replace(t, read(t, path), before, after))); len(got[0].Errors) == 0 {
			t.Errorf("%q: accepted", after)
		}
	}
	for _, service := range at(documents(t, []byte(read(t, path)))[0], "services").(object) {
		volumes, _ := at(service, "volumes").([]any)
		for _, v := range volumes {
			source, _, _ := strings.Cut(v.(string), ":")
			if _, err := os.Stat(filepath.Join("compose", source)); err != nil {
				t.Error(err)
			}
		}
	}
}

// Grafana's provisioning files, with the settings that are used here.
type (
	grafanaDatasources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name      string
			UID       string
			Type      string
			Access    string
			URL       string
			IsDefault bool `yaml:"isDefault"`
			JSONData  struct {
				TimeInterval string `yaml:"timeInterval"`
			} `yaml:"jsonData"`
		}
	}
	grafanaDashboards struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name           string
			Type           string
			Folder         string
			AllowUIUpdates bool `yaml:"allowUiUpdates"`
			Options        struct{ Path string }
		}
	}
)

func TestGrafanaIsProvisioned(t *testing.T) {
	var datasources grafanaDatasources
	var boards grafanaDashboards
	for path, into := range map[string]any{
		"datasources/prometheus.yaml": &datasources, "dashboards/keepscope.yaml": &boards,
	} {
		d := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "compose/grafana/provisioning/"+path))))
		d.KnownFields(true)
		if err := d.Decode(into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	compose := documents(t, []byte(read(t, "compose/compose.yaml")))[0]
	got := object{}
	for _, d := range datasources.Datasources {
		host := strings.TrimSuffix(strings.TrimPrefix(d.URL, "http://"), ":9090")
		got[d.Type] = at(compose, "services", host) != nil && d.Access == "proxy" && d.IsDefault
	}
	volumes, _ := at(compose, "services", "grafana", "volumes").([]any)
	for _, p := range boards.Providers {
		got[p.Type] = slices.Contains(volumes, any("../../dashboards/generated:"+p.Options.Path+":ro"))
	}
	if d := cmp.Diff(object{"prometheus": true, "file": true}, got); d != "" {
		t.Error(d)
	}
	if datasources.APIVersion != 1 || boards.APIVersion != 1 {
		t.Error("the version of the files is not 1")
	}
}
