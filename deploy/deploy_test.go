// Package deploy holds no code: these tests prove what is shipped here.
package deploy

//go:generate sh -c "cp ../dashboards/generated/keepscope-* helm/keepscope/files/"
//go:generate tools/notice.sh NOTICE

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

type object = map[string]any

// tool returns a program from build/tools or the path, or skips.
func tool(t *testing.T, name string) string {
	t.Helper()
	if path, err := filepath.Abs("../build/tools/" + name); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Skipf("%s is not here: `make deploy-tools deploy-packages` brings it", name)
	return ""
}

// output returns what a program writes, which must succeed.
func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = append(out, exit.Stderr...)
		}
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

func helm(t *testing.T, args ...string) []byte {
	t.Helper()
	return output(t, tool(t, "helm"), append([]string{"template", "ks", "helm/keepscope", "--namespace", "obs", "--kube-version", "1.30"}, args...)...)
}

// valueSets are the ways in which the chart is rendered.
var valueSets = map[string][]string{
	"default":      nil,
	"all":          {"--set", "podMonitor.enabled=true,serviceMonitor.enabled=true,prometheusRule.enabled=true,networkPolicy.enabled=true"},
	"sidecars":     {"--set", "daemonset.enabled=false,podSecurity=baseline,podMonitor.enabled=true"},
	"other port":   {"--set", "port=9999,image.digest=sha256:" + strings.Repeat("a", 64) + ",filter=tcp port 80,env.KEEPSCOPE_MAX_SERVERS=50"},
	"health":       {"--set", "healthPort=9800,env.KEEPSCOPE_WEB_CONFIG_FILE=/etc/keepscope/web.yml"},
	"listen":       {"--set", "daemonset.listen=127.0.0.1:9800,daemonset.workers=2,daemonset.maxUnavailable=1"},
	"scheduling":   {"--set", "daemonset.priorityClassName=system-node-critical,daemonset.nodeSelector.pool=web,daemonset.podAnnotations.a=b,imagePullSecrets[0].name=pull"},
	"long name":    {"--set", "fullnameOverride=" + strings.Repeat("n", 63) + ",podMonitor.enabled=true,prometheusRule.enabled=true"},
	"no dashboard": {"--set", "dashboards.enabled=false"},
}

// rendered are all manifests that are shipped, by how they came to be.
func rendered(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, args := range valueSets {
		out["chart, "+name] = helm(t, args...)
	}
	for _, podSecurity := range []string{"privileged", "baseline"} {
		for _, native := range []string{"true", "false"} {
			out["chart's sidecar, "+podSecurity+", native "+native] = chartSidecar(t, "example", native == "true",
				"podSecurity="+podSecurity, "sidecar.native="+native)
		}
	}
	out["chart's sidecar with key logs"] = chartSidecar(t, "example-keylog", true, "sidecar.keylog.enabled=true")
	for _, name := range []string{"example", "example-batch", "example-classic", "example-keylog"} {
		out["kustomize, "+name] = output(t, tool(t, "kustomize"), "build", "kubernetes/"+name)
	}
	for _, name := range []string{"sidecar", "sidecar-classic", "daemonset", "podmonitor"} {
		text, err := os.ReadFile("kubernetes/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		out[name+".yaml"] = text
	}
	return out
}

// chartSidecar renders another chart, an app of kubernetes/, that uses the sidecar of
// this one and its volume of key logs where it mounts that.
func chartSidecar(t *testing.T, example string, native bool, values ...string) []byte {
	t.Helper()
	const containers = "      containers:\n"
	text := read(t, "kubernetes/"+example+"/app.yaml")
	sidecar := "        {{- include \"keepscope.sidecar\" .Subcharts.keepscope | nindent 8 }}\n"
	if native {
		text = replace(t, text, containers, "      initContainers:\n"+sidecar+containers)
	} else {
		text = replace(t, text, containers, containers+sidecar)
	}
	if strings.Contains(text, "- name: keylog") {
		text = replace(t, text, "      initContainers:\n", "      volumes:\n        {{- include \"keepscope.keylogVolume\" .Subcharts.keepscope | nindent 8 }}\n      initContainers:\n")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "charts/keepscope"), os.DirFS("helm/keepscope")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "templates"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"Chart.yaml":         "apiVersion: v2\nname: app\nversion: 1.0.0\n",
		"values.yaml":        "keepscope: {daemonset: {enabled: false}, dashboards: {enabled: false}}\n",
		"templates/app.yaml": text,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"template", "app", dir, "--kube-version", "1.30"}
	for _, v := range values {
		args = append(args, "--set", "keepscope."+v)
	}
	return output(t, tool(t, "helm"), args...)
}

func documents(t *testing.T, text []byte) []object {
	t.Helper()
	var out []object
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var o object
		switch err := d.Decode(&o); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatal(err)
		case o != nil:
			out = append(out, o)
		}
	}
}

// at follows keys into nested mappings; nil where one is missing.
func at(v any, path ...string) any {
	for _, key := range path {
		m, _ := v.(object)
		v = m[key]
	}
	return v
}

func list(v any) []object {
	items, _ := v.([]any)
	out := make([]object, len(items))
	for i, item := range items {
		out[i], _ = item.(object)
	}
	return out
}

func TestManifestsAreValid(t *testing.T) {
	validate := tool(t, "kubectl-validate")
	dir := t.TempDir()
	for name, text := range rendered(t) {
		file := filepath.Join(dir, strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(name)+".yaml")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(validate, "--version", "1.30", "--local-crds", "testdata/crds", dir).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if n := bytes.Count(out, []byte("OK")); n < len(valueSets)+8 {
		t.Errorf("only %d files were validated:\n%s", n, out)
	}
}

// The oldest schemas that kubectl-validate has know all fields of the classic
// sidecar, and not those of the native one.
func TestClassicSidecarIsForOlderClusters(t *testing.T) {
	validate := tool(t, "kubectl-validate")
	output(t, validate, "--version", "1.23", "kubernetes/sidecar-classic.yaml")
	if err := exec.Command(validate, "--version", "1.23", "kubernetes/sidecar.yaml").Run(); err == nil {
		t.Error("the native one was accepted")
	}
}

// The files that are there to be applied as they are must be what their
// generators write.
func TestFilesAreWhatTheirSourcesWrite(t *testing.T) {
	for _, kind := range []string{"", "-classic"} {
		want := documents(t, output(t, tool(t, "kustomize"), "build", "kubernetes/example"+kind))
		text, err := os.ReadFile("kubernetes/sidecar" + kind + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, documents(t, text)); d != "" {
			t.Errorf("sidecar%s.yaml (-kustomize +file):\n%s", kind, d)
		}
	}
	generated, err := filepath.Glob("../dashboards/generated/keepscope-*")
	if err != nil || len(generated) == 0 {
		t.Fatalf("no generated dashboards: %v", err)
	}
	inChart, _ := filepath.Glob("helm/keepscope/files/*")
	if len(inChart) != len(generated) {
		t.Errorf("the chart has %d files, dashboards/generated %d", len(inChart), len(generated))
	}
	for _, path := range generated {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile("helm/keepscope/files/" + filepath.Base(path))
		if !bytes.Equal(got, want) {
			t.Errorf("deploy/helm/keepscope/files/%s differs from dashboards/generated: go generate ./deploy", filepath.Base(path))
		}
	}
}

// runtimeDefault are the capabilities that containerd gives without being asked.
var runtimeDefault = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
	"NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// capabilities returns what a container has.
func capabilities(c object) []string {
	drop, _ := at(c, "securityContext", "capabilities", "drop").([]any)
	add, _ := at(c, "securityContext", "capabilities", "add").([]any)
	var out []string
	for _, name := range runtimeDefault {
		if !slices.Contains(drop, any(name)) && !slices.Contains(drop, any("ALL")) {
			out = append(out, name)
		}
	}
	for _, name := range add {
		out = append(out, fmt.Sprint(name))
	}
	return out
}

// podOf returns what a workload says of its pods, nil where there is none.
func podOf(doc object) any {
	if doc["kind"] == "CronJob" {
		doc, _ = at(doc, "spec", "jobTemplate").(object)
	}
	return at(doc, "spec", "template", "spec")
}

func TestEveryPodIsConfined(t *testing.T) {
	pods := 0
	for name, text := range rendered(t) {
		for _, doc := range documents(t, text) {
			spec, ok := podOf(doc).(object)
			if !ok {
				continue
			}
			pods++
			t.Run(name, func(t *testing.T) { checkPod(t, spec) })
		}
	}
	if pods < 10 {
		t.Errorf("only %d pods were checked", pods)
	}
}

func checkPod(t *testing.T, spec object) {
	ports, found := map[any]bool{}, 0
	inits := list(spec["initContainers"])
	for _, c := range append(slices.Clone(inits), list(spec["containers"])...) {
		sc := at(c, "securityContext")
		for key, want := range map[string]any{"runAsNonRoot": true, "allowPrivilegeEscalation": false} {
			if at(sc, key) != want {
				t.Errorf("%v: securityContext.%s is %v", c["name"], key, at(sc, key))
			}
		}
		if at(sc, "seccompProfile", "type") != "RuntimeDefault" {
			t.Errorf("%v: no seccomp profile", c["name"])
		}
		for _, p := range list(c["ports"]) {
			if n, _ := p["name"].(string); len(n) == 0 || len(n) > 15 || ports[n] || ports[p["containerPort"]] {
				t.Errorf("%v: port %v %v is unnamed, long or there twice", c["name"], p["name"], p["containerPort"])
			}
			ports[p["name"]], ports[p["containerPort"]] = true, true
			if host := p["hostPort"]; spec["hostNetwork"] == true && host != p["containerPort"] {
				t.Errorf("host port %v is not %v", host, p["containerPort"])
			}
		}
		for _, probe := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
			if port := at(c, probe, "httpGet", "port"); port != nil && !slices.ContainsFunc(list(c["ports"]), func(p object) bool { return p["name"] == port }) {
				t.Errorf("%v: %s asks port %v, which there is not", c["name"], probe, port)
			}
		}
		if c["name"] == "keepscope" {
			found++
			checkKeepscope(t, spec, c)
		}
	}
	if found != 1 {
		t.Errorf("%d containers named keepscope", found)
	}
	for _, c := range inits {
		if c["restartPolicy"] != "Always" {
			t.Errorf("init container %v never ends and is no sidecar", c["name"])
		}
	}
}

func checkKeepscope(t *testing.T, spec, c object) {
	want := object{"runAsUser": 65532, "runAsGroup": 65532, "readOnlyRootFilesystem": true, "privileged": false}
	if checkKeylog(t, spec, c) {
		// The pod's user is the app's, who alone may read its key log.
		want["runAsUser"], want["runAsGroup"] = nil, nil
		if at(spec, "securityContext", "runAsUser") == nil {
			t.Error("the pod has no user for the app and the sidecar")
		}
	}
	for key, value := range want {
		if got := at(c, "securityContext", key); got != value {
			t.Errorf("securityContext.%s is %v", key, got)
		}
	}
	if got := capabilities(c); !slices.Equal(got, []string{"NET_RAW"}) {
		t.Errorf("capabilities %v", got)
	}
	if c["livenessProbe"] == nil || spec["hostNetwork"] == true && c["readinessProbe"] == nil {
		t.Error("a probe is missing")
	}
	if spec["hostNetwork"] != true && (c["readinessProbe"] != nil || c["startupProbe"] != nil) {
		t.Error("a sidecar's readiness or start-up would keep its app from traffic")
	}
	for _, name := range []string{"cpu", "memory"} {
		request, limit := at(c, "resources", "requests", name), at(c, "resources", "limits", name)
		if request == nil || limit == nil || quantity(t, request) > quantity(t, limit) {
			t.Errorf("%s: request %v, limit %v", name, request, limit)
		}
	}
	env := map[any]object{}
	for _, e := range list(c["env"]) {
		if env[e["name"]] != nil {
			t.Errorf("%v is set twice", e["name"])
		}
		env[e["name"]] = e
	}
	if at(env["KEEPSCOPE_MEMORY_LIMIT"], "valueFrom", "resourceFieldRef", "resource") != "limits.memory" {
		t.Error("KEEPSCOPE_MEMORY_LIMIT is not the memory limit")
	}
	if at(c, "livenessProbe", "httpGet", "port") != "health" || c["readinessProbe"] != nil && at(c, "readinessProbe", "httpGet", "port") != "health" {
		t.Error("probes share a listener with those who scrape, and would need its password")
	}
	health := fmt.Sprint(list(c["ports"])[1]["containerPort"])
	if listen := fmt.Sprint(env["KEEPSCOPE_HEALTH_LISTEN"]["value"]); listen != ":"+health || list(c["ports"])[1]["name"] != "health" {
		t.Errorf("health checks are on %s, declared is %s", listen, health)
	}
	// A container that ends and starts keeps its pod from being ready.
	if waits := at(env["KEEPSCOPE_WAIT_FOR_INTERFACE"], "value") == "true"; waits == (spec["hostNetwork"] == true) {
		t.Errorf("it waits for its interface: %v", waits)
	}
	port := fmt.Sprint(list(c["ports"])[0]["containerPort"])
	if listen := fmt.Sprint(env["KEEPSCOPE_LISTEN"]["value"]); !strings.HasSuffix(listen, ":"+port) {
		t.Errorf("listens on %s, declares %s", listen, port)
	}
}

// checkKeylog says whether a sidecar reads the app's key logs. Then it may only read the
// volume that the app writes, which lies in memory and is bounded.
func checkKeylog(t *testing.T, spec, c object) bool {
	i := slices.IndexFunc(list(c["env"]), func(e object) bool { return e["name"] == "KEEPSCOPE_KEYLOG" })
	if i < 0 {
		if c["volumeMounts"] != nil || spec["volumes"] != nil {
			t.Error("a volume is there for nothing")
		}
		return false
	}
	want := object{"mountPath": list(c["env"])[i]["value"], "name": "keylog", "readOnly": true}
	if d := cmp.Diff([]object{want}, list(c["volumeMounts"])); d != "" {
		t.Errorf("the sidecar's mounts (-want +got):\n%s", d)
	}
	delete(want, "readOnly")
	if d := cmp.Diff([]object{want}, list(list(spec["containers"])[0]["volumeMounts"])); d != "" {
		t.Errorf("the app's mounts (-want +got):\n%s", d)
	}
	volume := object{"name": "keylog", "emptyDir": object{"medium": "Memory", "sizeLimit": "64Mi"}}
	if d := cmp.Diff([]object{volume}, list(spec["volumes"])); d != "" {
		t.Errorf("volumes (-want +got):\n%s", d)
	}
	return true
}

// quantity returns a Kubernetes quantity in thousandths.
func quantity(t *testing.T, v any) float64 {
	t.Helper()
	text := fmt.Sprint(v)
	units := map[string]float64{"m": 1, "k": 1e6, "Ki": 1 << 10 * 1e3, "Mi": 1 << 20 * 1e3, "Gi": 1 << 30 * 1e3, "M": 1e9, "G": 1e12, "": 1e3}
	number := strings.TrimRight(text, "mkKMGi")
	var f float64
	if _, err := fmt.Sscan(number, &f); err != nil {
		t.Fatalf("quantity %q: %v", text, err)
	}
	return f * units[text[len(number):]]
}

func TestChartRefusesNonsense(t *testing.T) {
	program := tool(t, "helm")
	output(t, program, "lint", "--strict", "--kube-version", "1.30", "helm/keepscope")
	for _, set := range []string{
		"port=0", "port=70000", "healthPort=0", "prot=9737", "interface=", "interface=a name too long for one",
		"image.pullPolicy=Sometimes", "image.digest=sha256:1", "podSecurity=restricted",
		"podSecurity=baseline", "sidecar.maxMemory=32MB", "sidecar.linger=20", "sidecar.resources.limits.memory=lots",
		"daemonset.workers=0", "daemonset.enabled=perhaps", "daemonset.maxUnavailable=0%",
		"sidecar.keylog.mountPath=run", "sidecar.keylog.sizeLimit=lots", "sidecar.keylog.volume=", "podMonitor.interval=30", "env.PATH=/", "env.KEEPSCOPE_MAX_SERVER=5", "networkPolicy.podSelector.matchLabels=x", "dashboards.label=",
	} {
		out, err := exec.Command(program, "template", "ks", "helm/keepscope", "--kube-version", "1.30", "--set", set).CombinedOutput()
		if err == nil {
			t.Errorf("%s: accepted", set)
		} else if !bytes.Contains(out, []byte("values don't meet")) && set != "podSecurity=baseline" {
			t.Errorf("%s: refused for another reason: %s", set, out)
		}
	}
}

// The patches of the component put the same into a pod, however deep it stands.
func TestBatchPatchIsTheOther(t *testing.T) {
	patch := func(name string) any {
		return documents(t, []byte(read(t, "kubernetes/component/"+name+".yaml")))[0]["spec"]
	}
	if d := cmp.Diff(patch("sidecar"), at(patch("cronjob"), "jobTemplate", "spec")); d != "" {
		t.Errorf("cronjob.yaml (-sidecar.yaml +jobTemplate):\n%s", d)
	}
}

// The sidecar of the component, of the classic one and of the chart is one.
func TestSidecarsAreAlike(t *testing.T) {
	alike := map[string]object{} // with key logs, and without
	all := rendered(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(name, "kustomize, ") && !strings.HasPrefix(name, "chart's sidecar") || strings.Contains(name, "baseline") {
			continue
		}
		for _, doc := range documents(t, all[name]) {
			spec := podOf(doc)
			for _, c := range append(list(at(spec, "initContainers")), list(at(spec, "containers"))...) {
				if c["name"] != "keepscope" {
					continue
				}
				native := c["restartPolicy"] == "Always"
				delete(c, "restartPolicy")
				env := list(c["env"])
				n := len(env)
				env = slices.DeleteFunc(env, func(e object) bool { return e["name"] == "KEEPSCOPE_LINGER" && e["value"] == "15s" })
				if lingers := len(env) < n; lingers == native {
					t.Errorf("%s: native %v, lingers %v", name, native, lingers)
				}
				slices.SortFunc(env, func(a, b object) int { return strings.Compare(fmt.Sprint(a["name"]), fmt.Sprint(b["name"])) })
				c["env"] = env
				kind := fmt.Sprint(c["volumeMounts"])
				if alike[kind] == nil {
					alike[kind] = c
				}
				if d := cmp.Diff(alike[kind], c); d != "" {
					t.Errorf("%s:\n%s", name, d)
				}
			}
		}
	}
	if len(alike) != 2 {
		t.Errorf("%d kinds of sidecars", len(alike))
	}
}

func TestUnitIsConfined(t *testing.T) {
	out := output(t, tool(t, "systemd-analyze"), "security", "--offline=yes", "--threshold=25", "systemd/keepscope.service")
	if !bytes.Contains(out, []byte("OK")) {
		t.Errorf("%s", out)
	}
}

// The compose file gives Keepscope no more than the manifests do.
func TestComposeIsConfined(t *testing.T) {
	text, err := os.ReadFile("compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	service := at(documents(t, text)[0], "services", "keepscope")
	got := object{}
	for _, key := range []string{"user", "read_only", "cap_drop", "cap_add", "security_opt", "network_mode"} {
		got[key] = at(service, key)
	}
	want := object{
		"user": "65532:65532", "read_only": true, "cap_drop": []any{"ALL"}, "cap_add": []any{"NET_RAW"},
		"security_opt": []any{"no-new-privileges:true"}, "network_mode": "service:app",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
