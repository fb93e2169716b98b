package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestImageHasNoBase holds that nothing of others is in the image, or makes what is.
func TestImageHasNoBase(t *testing.T) {
	from := regexp.MustCompile(`(?mi)^FROM .*$`).FindAllString(read(t, "Dockerfile"), -1)
	if !slices.Equal(from, []string{"FROM scratch"}) {
		t.Errorf("%q", from)
	}
}

// The image is built as `make image` builds it and run by runc as a kubelet has
// it run: with the security context of the shipped manifest, sharing the network
// namespace of an app, which here is nginx.
func TestImageRunsAsTheManifestSays(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an image")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root for namespaces and images")
	}
	buildah, runc := tool(t, "buildah"), tool(t, "runc")
	tool(t, "nginx")
	tool(t, "ab")
	dir := t.TempDir()
	rootfs := buildImage(t, buildah, dir)
	p := newPod(t, runc, dir, rootfs)

	app := p.start("nginx", "-c", p.nginxConfig(), "-p", dir)
	p.waitFor("http://127.0.0.1:8080/", nil)
	native := list(at(documents(t, []byte(read(t, "kubernetes/sidecar.yaml")))[0], "spec", "template", "spec", "initContainers"))[0]
	sidecar := p.container("first", native)
	p.waitFor("http://127.0.0.1:9737/readyz", sidecar)

	p.load("-k", "-n", "200", "-c", "4")
	p.load("-n", "50", "-c", "1")
	p.await(func(m metrics) bool { return m.sum("keepscope_requests_total") >= float64(p.logged()) }, sidecar)
	m := p.scrape()
	if got, want := m.sum("keepscope_requests_total"), float64(p.logged()); got != want {
		t.Errorf("%v requests counted, nginx logged %v", got, want)
	}
	if !strings.Contains(string(m), `keepscope_build_info{commit="0123abcd"`) || !strings.Contains(string(m), `version="0.0.0-test"`) {
		t.Error("build_info has neither version nor commit")
	}
	p.checkProcess(sidecar)
	p.checkPrometheus(dir)

	// Killed: the app goes on, and so does the next one.
	_ = sidecar.kill(syscall.SIGKILL)
	p.load("-k", "-n", "20", "-c", "2")
	before := p.logged()
	sidecar = p.container("second", native)
	p.waitFor("http://127.0.0.1:9737/readyz", sidecar)
	p.load("-k", "-n", "30", "-c", "2")
	p.await(func(m metrics) bool { return m.sum("keepscope_requests_total") >= float64(p.logged()-before) }, sidecar)
	if got, want := p.scrape().sum("keepscope_requests_total"), float64(p.logged()-before); got != want {
		t.Errorf("after the restart %v requests were counted, nginx logged %v", got, want)
	}

	// The classic one is told to end at once, and sees the app drain all the same.
	if err := sidecar.kill(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, sidecar.log)
	}
	classic := replace(t, read(t, "kubernetes/sidecar-classic.yaml"), "value: 15s", "value: 5s")
	before = p.logged()
	draining := p.container("third", list(at(documents(t, []byte(classic))[0], "spec", "template", "spec", "containers"))[0])
	p.waitFor("http://127.0.0.1:9737/readyz", draining)
	draining.signal(syscall.SIGTERM)
	p.load("-n", "20", "-c", "2")
	p.await(func(m metrics) bool { return m.sum("keepscope_requests_total") >= float64(p.logged()-before) }, draining)
	if err := draining.wait(); err != nil {
		t.Errorf("after lingering: %v\n%s", err, draining.log)
	}

	// The app ends first, then the native one is told to.
	sidecar = p.container("fourth", native)
	p.waitFor("http://127.0.0.1:9737/readyz", sidecar)
	_ = app.Process.Signal(syscall.SIGTERM)
	_ = app.Wait()
	p.waitFor("http://127.0.0.1:9737/metrics", sidecar)
	if err := sidecar.kill(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, sidecar.log)
	}
}

// buildImage returns the root file system of the image.
func buildImage(t *testing.T, buildah, dir string) string {
	t.Helper()
	store := fmt.Sprintf("%s --root %s/store --runroot %s/run --storage-driver vfs", buildah, dir, dir)
	cmd := exec.Command("make", "-f", "deploy/deploy.mk", "image",
		"VERSION=0.0.0-test", "COMMIT=0123abcd", "IMAGE=keepscope/keepscope:test", "BUILDAH="+store)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("Unable to fetch")) || bytes.Contains(out, []byte("Failed to fetch")) {
			t.Skipf("libpcap's source can't be fetched: %s", out)
		}
		t.Fatalf("make image: %v\n%s", err, out)
	}
	args := strings.Fields(store)[1:]
	id := strings.TrimSpace(string(output(t, buildah, append(args, "from", "keepscope/keepscope:test")...)))
	root := strings.TrimSpace(string(output(t, buildah, append(args, "mount", id)...)))
	t.Cleanup(func() {
		_ = exec.Command(buildah, append(args, "umount", id)...).Run()
	})
	info, err := os.Stat(filepath.Join(root, "keepscope"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 40<<20 {
		t.Errorf("the binary takes %d bytes", info.Size())
	}
	config := output(t, buildah, append(args, "inspect", "--type", "image", "--format",
		"{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}} {{index .OCIv1.Config.Labels \"org.opencontainers.image.version\"}}", "keepscope/keepscope:test")...)
	if got, want := strings.TrimSpace(string(config)), "65532:65532 [/keepscope] [run] 0.0.0-test"; got != want {
		t.Errorf("image: %q, want %q", got, want)
	}
	return root
}

// A pod is a network namespace with an app and Keepscope.
type pod struct {
	t                   *testing.T
	runc, dir, root, ns string
	cgroup              string   // file of a memory limit, with %s for the cgroup; empty where none may be set
	seccomp             *seccomp // nil where it is not here
}

func newPod(t *testing.T, runc, dir, root string) *pod {
	t.Helper()
	p := &pod{t: t, runc: runc, dir: dir, root: root, ns: fmt.Sprintf("keepscope-deploy-%d", os.Getpid())}
	if out, err := exec.Command("ip", "netns", "add", p.ns).CombinedOutput(); err != nil {
		t.Skipf("no network namespace may be made: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", p.ns).Run() })
	output(t, "ip", "-n", p.ns, "link", "set", "lo", "up")
	p.seccomp = runtimeDefaultSeccomp(t)
	for _, file := range []string{"/sys/fs/cgroup/%s/memory.max", "/sys/fs/cgroup/memory/%s/memory.limit_in_bytes"} {
		if limitable(fmt.Sprintf(file, p.ns)) {
			p.cgroup = file
		}
	}
	return p
}

// limitable says whether a memory limit can be set by a new cgroup's file.
func limitable(file string) bool {
	if os.Mkdir(filepath.Dir(file), 0o755) != nil {
		return false
	}
	defer func() { _ = os.Remove(filepath.Dir(file)) }()
	f, err := os.OpenFile(file, os.O_WRONLY, 0) // the kernel makes it, where there is such a controller
	if err != nil {
		return false
	}
	_, err = f.WriteString("67108864")
	return errors.Join(err, f.Close()) == nil
}

func (p *pod) command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", p.ns, name}, args...)...)
}

func (p *pod) start(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := p.command(name, args...)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	})
	return cmd
}

func (p *pod) nginxConfig() string {
	path := filepath.Join(p.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; user root; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http { access_log %[1]s/access.log; keepalive_timeout 2s; server { listen 127.0.0.1:8080; location / { return 200 hello; } } }
`, p.dir)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// logged counts what nginx logged since Keepscope could see it.
func (p *pod) logged() int {
	text, err := os.ReadFile(filepath.Join(p.dir, "access.log"))
	if err != nil {
		p.t.Fatal(err)
	}
	return bytes.Count(text, []byte("ApacheBench"))
}

func (p *pod) load(args ...string) {
	p.t.Helper()
	args = append(append([]string{"netns", "exec", p.ns, "ab", "-q"}, args...), "http://127.0.0.1:8080/")
	output(p.t, "ip", args...)
}

func (p *pod) get(url string) ([]byte, error) {
	return p.command("curl", "-sfS", "--max-time", "5", url).Output()
}

type metrics string

var sample = regexp.MustCompile(`(?m)^(\w+)(?:\{[^}]*\})? (\S+)$`)

func (m metrics) sum(name string) float64 {
	total := 0.0
	for _, match := range sample.FindAllStringSubmatch(string(m), -1) {
		if match[1] == name {
			v, _ := strconv.ParseFloat(match[2], 64)
			total += v
		}
	}
	return total
}

func (p *pod) scrape() metrics {
	p.t.Helper()
	text, err := p.get("http://127.0.0.1:9737/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	return metrics(text)
}

// await asks until the answer is right, for 20 s at most.
func (p *pod) await(right func(metrics) bool, c *runningContainer) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !right(p.scrape()); {
		if time.Now().After(deadline) {
			p.t.Errorf("the counts did not come\n%s", c.log)
			return
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (p *pod) waitFor(url string, c *runningContainer) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := p.get(url)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log := ""
			if c != nil {
				log = c.log.String()
			}
			p.t.Fatalf("%s: %v\n%s", url, err, log)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// A runningContainer is Keepscope, run by runc.
type runningContainer struct {
	p        *pod
	manifest object
	id       string
	cmd      *exec.Cmd
	log      *bytes.Buffer
	done     bool
}

// container starts Keepscope as a container of a manifest says.
func (p *pod) container(name string, manifest object) *runningContainer {
	p.t.Helper()
	bundle := filepath.Join(p.dir, name)
	if err := os.Mkdir(bundle, 0o755); err != nil {
		p.t.Fatal(err)
	}
	text, err := json.Marshal(p.spec(name, manifest))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o644); err != nil {
		p.t.Fatal(err)
	}
	c := &runningContainer{p: p, manifest: manifest, id: p.ns + "-" + name, log: new(bytes.Buffer)}
	c.cmd = exec.Command(p.runc, "--root", filepath.Join(p.dir, "runc"), "run", "--bundle", bundle, c.id)
	c.cmd.Stdout, c.cmd.Stderr = io.Discard, c.log
	if err := c.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if !c.done {
			_ = c.kill(syscall.SIGKILL)
		}
	})
	return c
}

// kill sends a signal and returns how the container ended.
func (c *runningContainer) kill(sig syscall.Signal) error {
	c.signal(sig)
	return c.wait()
}

func (c *runningContainer) signal(sig syscall.Signal) {
	_ = exec.Command(c.p.runc, "--root", filepath.Join(c.p.dir, "runc"), "kill", c.id, strconv.Itoa(int(sig))).Run()
}

func (c *runningContainer) wait() error {
	c.done = true
	err := c.cmd.Wait()
	_ = exec.Command(c.p.runc, "--root", filepath.Join(c.p.dir, "runc"), "delete", "--force", c.id).Run()
	return err
}

// memoryLimit returns a container's in bytes.
func (p *pod) memoryLimit(c object) int {
	return int(quantity(p.t, at(c, "resources", "limits", "memory")) / 1e3)
}

// spec is what a kubelet makes of a container of a manifest.
func (p *pod) spec(name string, c object) object {
	sc, _ := c["securityContext"].(object)
	var caps []string
	for _, name := range capabilities(c) {
		caps = append(caps, "CAP_"+name)
	}
	env := []string{fmt.Sprintf("KEEPSCOPE_MEMORY_LIMIT=%d", p.memoryLimit(c)), "KEEPSCOPE_SERVER_NAME=web"}
	for _, e := range list(c["env"]) {
		if v, ok := e["value"].(string); ok {
			env = append(env, fmt.Sprintf("%s=%s", e["name"], v))
		}
	}
	linux := object{"namespaces": []object{
		{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
		{"type": "network", "path": "/run/netns/" + p.ns},
	}}
	if p.cgroup != "" {
		linux["cgroupsPath"] = "/" + p.ns + "-" + name
		linux["resources"] = object{"memory": object{"limit": p.memoryLimit(c)}}
	}
	if p.seccomp != nil {
		linux["seccomp"] = p.seccomp.allowing(caps)
	}
	return object{
		"ociVersion": "1.0.2",
		"process": object{
			"user": object{"uid": sc["runAsUser"], "gid": sc["runAsGroup"]}, "cwd": "/", "env": env,
			"args":            append([]any{"/keepscope"}, c["args"].([]any)...),
			"noNewPrivileges": sc["allowPrivilegeEscalation"] == false,
			"capabilities":    object{"bounding": caps, "effective": caps, "permitted": caps},
		},
		"root": object{"path": p.root, "readonly": sc["readOnlyRootFilesystem"]},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
			{"destination": "/sys", "type": "none", "source": "/sys", "options": []string{"rbind", "ro"}},
		},
		"linux": linux,
	}
}

// A seccomp is a profile as containers/common ships it.
type seccomp struct {
	DefaultAction   string
	DefaultErrnoRet *uint
	ArchMap         []struct {
		Architecture     string
		SubArchitectures []string
	}
	Syscalls []struct {
		Names              []string
		Action             string
		ErrnoRet           *uint
		Args               []object
		Includes, Excludes struct{ Caps, Arches []string }
	}
}

// runtimeDefaultSeccomp reads the profile that containers get by default, nil
// where it is not here.
func runtimeDefaultSeccomp(t *testing.T) *seccomp {
	t.Helper()
	text, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		return nil
	}
	var s seccomp
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// allowing returns the profile as runc reads it, for a container with these
// capabilities on this machine.
func (s *seccomp) allowing(caps []string) object {
	has := func(c string) bool { return slices.Contains(caps, c) }
	here := func(arch string) bool { return arch == runtime.GOARCH }
	var calls []object
	for _, c := range s.Syscalls {
		in, out := c.Includes, c.Excludes
		if len(in.Caps) > 0 && !slices.ContainsFunc(in.Caps, has) || len(in.Arches) > 0 && !slices.ContainsFunc(in.Arches, here) ||
			slices.ContainsFunc(out.Caps, has) || slices.ContainsFunc(out.Arches, here) {
			continue
		}
		calls = append(calls, object{"names": c.Names, "action": c.Action, "errnoRet": c.ErrnoRet, "args": c.Args})
	}
	native := map[string]string{"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}[runtime.GOARCH]
	var arches []string
	for _, a := range s.ArchMap {
		if a.Architecture == native {
			arches = append(append(arches, native), a.SubArchitectures...)
		}
	}
	return object{"defaultAction": s.DefaultAction, "defaultErrnoRet": s.DefaultErrnoRet, "architectures": arches, "syscalls": calls}
}

// checkProcess asserts what the kernel says of the running process.
func (p *pod) checkProcess(c *runningContainer) {
	p.t.Helper()
	var state struct{ Pid int }
	out := output(p.t, p.runc, "--root", filepath.Join(p.dir, "runc"), "state", c.id)
	if err := json.Unmarshal(out, &state); err != nil {
		p.t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", state.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"} {
		if !bytes.Contains(status, []byte(want)) {
			p.t.Errorf("process has no %q:\n%s", want, status)
		}
	}
	if m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status); m != nil {
		p.t.Logf("resident: %s KiB", m[1])
	}
	p.t.Run("seccomp", func(t *testing.T) {
		if p.seccomp == nil {
			t.Skip("the profile of golang-github-containers-common is not here")
		}
		if !bytes.Contains(status, []byte("Seccomp:\t2\n")) {
			t.Errorf("process has no filter:\n%s", status)
		}
	})
	p.t.Run("memory limit", func(t *testing.T) {
		if p.cgroup == "" {
			t.Skip("this machine's cgroups are not to be changed")
		}
		got := strings.TrimSpace(read(t, fmt.Sprintf(p.cgroup, c.id)))
		if want := strconv.Itoa(p.memoryLimit(c.manifest)); got != want {
			t.Errorf("limit %s, want %s", got, want)
		}
	})
}

// checkPrometheus starts Prometheus with the shipped configuration and rules,
// only the app's name changed into its address.
func (p *pod) checkPrometheus(dir string) {
	p.t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		p.t.Log("prometheus is not here: not tried")
		return
	}
	config, err := os.ReadFile("compose/prometheus.yml")
	if err != nil {
		p.t.Fatal(err)
	}
	config = bytes.Replace(config, []byte("app:9737"), []byte("127.0.0.1:9737"), 1)
	config = bytes.ReplaceAll(config, []byte("5s"), []byte("1s"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), config, 0o644); err != nil {
		p.t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "rules"), os.DirFS("../dashboards/generated")); err != nil {
		p.t.Fatal(err)
	}
	p.start(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "tsdb"),
		"--web.listen-address=127.0.0.1:9090", "--enable-feature=native-histograms")
	p.waitFor("http://127.0.0.1:9090/-/ready", nil)
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(100 * time.Millisecond) {
		up, _ := p.get("http://127.0.0.1:9090/api/v1/query?query=sum(keepscope_requests_total)")
		if bytes.Contains(up, []byte(`"value"`)) {
			break
		}
		if time.Now().After(deadline) {
			p.t.Errorf("Prometheus did not find the endpoint: %s", up)
			break
		}
	}
	rules, err := p.get("http://127.0.0.1:9090/api/v1/rules")
	if err != nil || !bytes.Contains(rules, []byte("keepscope_effectiveness")) {
		p.t.Errorf("Prometheus has no rules: %v %.200s", err, rules)
	}
}
