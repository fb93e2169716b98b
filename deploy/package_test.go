package deploy

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// installed are files of a package, by format.
func installed(format string) []string {
	unit, zsh := "/lib/systemd/system/", "/usr/share/zsh/vendor-completions/"
	if format == "rpm" {
		unit, zsh = "/usr/lib/systemd/system/", "/usr/share/zsh/site-functions/"
	}
	return []string{
		"/usr/bin/keepscope", unit + "keepscope.service", "/etc/keepscope/keepscope.env", "/usr/share/man/man1/keepscope.1.gz",
		"/usr/share/bash-completion/completions/keepscope", zsh + "_keepscope", "/usr/share/fish/vendor_completions.d/keepscope.fish",
		"/usr/share/doc/keepscope/copyright", "/usr/share/doc/keepscope/NOTICE", "/usr/share/doc/keepscope/CHANGELOG.md",
		"/usr/share/doc/keepscope/keepscope.cdx.json",
		"/usr/share/keepscope/dashboards/keepscope-overview.json", "/usr/share/keepscope/rules/keepscope-alerting-rules.yaml",
	}
}

// pack makes a package of a script in place of the binary, and returns its path.
func pack(t *testing.T, format, version, settings string) string {
	t.Helper()
	dir := t.TempDir()
	binary := put(t, dir, "package/amd64/keepscope", "#!/bin/sh\necho stand-in $*\n")
	if err := os.Chmod(binary, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "package/amd64/keepscope.cdx.json", "{}")
	output(t, "package/manual.sh", binary, filepath.Join(dir, "package/manual"))
	env := put(t, dir, "keepscope.env", settings)
	config := strings.ReplaceAll(read(t, "package/nfpm.yaml"), "build/package/", dir+"/package/")
	config = replace(t, config, "deploy/systemd/keepscope.env", env)
	target := filepath.Join(dir, "keepscope."+format)
	cmd := exec.Command(tool(t, "nfpm"), "package", "-f", put(t, dir, "nfpm.yaml", config), "-p", format, "-t", target)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "ARCH=amd64", "VERSION="+version, "SOURCE_DATE_EPOCH=1767315845")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", format, err, out)
	}
	return target
}

// What is packed in two directories is the same, and holds what it should.
func TestPackages(t *testing.T) {
	for format, show := range map[string][]string{"deb": {"dpkg-deb", "--contents"}, "rpm": {"rpm", "-qpl"}} {
		first := pack(t, format, "1.2.3", "# settings\n")
		if a, b := read(t, first), read(t, pack(t, format, "1.2.3", "# settings\n")); a != b {
			t.Errorf("%s: two of the same differ", format)
		}
		got := string(output(t, tool(t, show[0]), append(show[1:], first)...))
		for _, want := range installed(format) {
			if !strings.Contains(got, want+"\n") {
				t.Errorf("%s has no %s:\n%s", format, want, got)
			}
		}
	}
	deb := pack(t, "deb", "1.2.4-0.20260102010405-0123456789ab", "")
	if got, want := string(output(t, "dpkg-deb", "--show", deb)), "keepscope\t1.2.4~0.20260102010405-0123456789ab\n"; got != want {
		t.Errorf("a commit's package is %q, want %q: below 1.2.4, above 1.2.3", got, want)
	}
}

// A release names its own version wherever one is named.
func TestReleaseNamesItsVersion(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "deploy"), os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "README.md", read(t, "../README.md"))
	put(t, dir, "CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n### Added\n\n## 0.0.9\n")
	output(t, filepath.Join(dir, "deploy/package/name.sh"), "7.8.9")
	if got, want := read(t, filepath.Join(dir, "CHANGELOG.md")), "# Changelog\n\n## Unreleased\n\n## 7.8.9\n\n### Added\n\n## 0.0.9\n"; got != want {
		t.Errorf("the change log is %q", got)
	}
	named := regexp.MustCompile(`(?:keepscope[:_-]|keepscope@v|\?ref=v|/version: "|[vV]ersion: )([0-9]+\.[0-9]+\.[0-9]+)`)
	times := 0
	for _, pattern := range []string{"README.md", "*/README.md", "*/*/*.yaml", "*/*/*/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, match := range named.FindAllStringSubmatch(read(t, file), -1) {
				times++
				if match[1] != "7.8.9" {
					t.Errorf("%s: %s", file, match[0])
				}
			}
		}
	}
	if times < 20 {
		t.Errorf("it is named %d times", times)
	}
	if out, err := exec.Command(filepath.Join(dir, "deploy/package/name.sh"), "v7.8.9").CombinedOutput(); err == nil {
		t.Errorf("v7.8.9 is taken: %s", out)
	}
}

// packages returns the directory in which `make test-packages` built them.
func packages(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("KEEPSCOPE_PACKAGES")
	if dir == "" {
		t.Skip("needs the network and minutes: `make test-packages` runs it")
	}
	if os.Getuid() != 0 {
		t.Fatal("needs root, to change into the root of another system")
	}
	return dir
}

// The packages are installed over older ones, and removed, in a Debian of their
// own.
func TestReleaseInstalls(t *testing.T) {
	dir := packages(t)
	version := strings.TrimSpace(string(output(t, "./version.sh", "version")))
	if v := os.Getenv("VERSION"); v != "" {
		version = v
	}
	root := filepath.Join(t.TempDir(), "root")
	mirror := "http://deb.debian.org/debian"
	if out, err := exec.Command(tool(t, "debootstrap"), "--variant=minbase", "--include=systemd", "bookworm", root, mirror).CombinedOutput(); err != nil {
		t.Fatalf("debootstrap: %v\n%s", err, out)
	}
	s := system{t, root, version}
	t.Run("deb", func(t *testing.T) {
		s.t = t
		s.upgrade("deb", newest(t, dir, "keepscope_*_amd64.deb"), []string{"chroot", root, "dpkg", "-i"},
			[]string{"chroot", root, "dpkg", "--force-confdef", "-i"})
		s.kept(".dpkg-dist")
		output(t, "chroot", root, "dpkg", "--remove", "keepscope")
		s.removed()
		if got := read(t, filepath.Join(root, "etc/keepscope/keepscope.env")); got != changedSettings {
			t.Errorf("removed, the settings are %q", got)
		}
		output(t, "chroot", root, "dpkg", "--purge", "keepscope")
		s.clean()
	})
	t.Run("rpm", func(t *testing.T) {
		s.t = t
		rpm := []string{tool(t, "rpm"), "--root", root, "--dbpath", "/var/lib/rpm", "--force-debian"}
		s.upgrade("rpm", newest(t, dir, "keepscope-*.x86_64.rpm"), append(slices.Clone(rpm), "--install"), append(slices.Clone(rpm), "--upgrade"))
		s.kept(".rpmnew")
		output(t, rpm[0], append(slices.Clone(rpm[1:]), "--erase", "keepscope")...)
		s.removed()
		saved := filepath.Join(root, "etc/keepscope/keepscope.env.rpmsave")
		if got := read(t, saved); got != changedSettings {
			t.Errorf("removed, the settings are %q", got)
		}
		if err := os.RemoveAll(filepath.Dir(saved)); err != nil {
			t.Fatal(err)
		}
		s.clean()
	})
}

// changedSettings are those of one who installed an older package.
const changedSettings = "# older\nKEEPSCOPE_LISTEN=127.0.0.1:9999\n"

// A system is another one's root directory, in which packages are installed.
type system struct {
	t       *testing.T
	root    string
	version string
}

// in runs a program of the system.
func (s system) in(args ...string) string {
	s.t.Helper()
	return string(output(s.t, "chroot", append([]string{s.root}, args...)...))
}

// upgrade installs an older package, has it used, and installs a newer one.
func (s system) upgrade(format, newer string, install, upgrade []string) {
	t := s.t
	t.Helper()
	run := func(command []string, file string) {
		t.Helper()
		if command[0] == "chroot" {
			inside := "/srv/keepscope." + format
			defer func(copied string) { _ = os.Remove(copied) }(put(t, s.root, inside, read(t, file)))
			file = inside
		}
		output(t, command[0], append(slices.Clone(command[1:]), file)...)
	}
	run(install, pack(t, format, "0.0.0-0", "# older\n"))
	if got := s.in("keepscope", "--version"); got != "stand-in --version\n" {
		t.Fatalf("the older one says %q", got)
	}
	s.in("systemctl", "enable", "keepscope")
	put(t, s.root, "etc/keepscope/keepscope.env", changedSettings)
	run(upgrade, newer)

	if got := s.in("keepscope", "--version"); !strings.HasPrefix(got, "keepscope "+s.version+" (commit ") {
		t.Errorf("it says %q, want version %s", got, s.version)
	}
	put(t, s.root, "srv/demo.pcapng.zst", read(t, "../cmd/keepscope/demo.pcapng.zst"))
	if got := s.in("keepscope", "read", "/srv/demo.pcapng.zst"); !strings.Contains(got, "Keep-alive effectiveness") {
		t.Errorf("it reads a capture as %q", got)
	}
	for _, file := range installed(format) {
		if info, err := os.Stat(filepath.Join(s.root, file)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", file, err)
		}
	}
	page, err := gzip.NewReader(strings.NewReader(read(t, filepath.Join(s.root, "usr/share/man/man1/keepscope.1.gz"))))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(page)
	if head := `.TH KEEPSCOPE 1 "" "keepscope ` + strings.ReplaceAll(s.version, "-", `\-`) + `"`; err != nil || !bytes.HasPrefix(text, []byte(head)) {
		t.Errorf("the manual page: %v, %.100s, want %s", err, text, head)
	}
}

// kept asserts that an upgrade kept settings and service, with the new defaults
// beside.
func (s system) kept(suffix string) {
	s.t.Helper()
	settings := filepath.Join(s.root, "etc/keepscope/keepscope.env")
	if got := read(s.t, settings); got != changedSettings {
		s.t.Errorf("the settings became %q", got)
	}
	if got := read(s.t, settings+suffix); got != read(s.t, "systemd/keepscope.env") {
		s.t.Errorf("the new settings are %q", got)
	}
	if got := s.in("systemctl", "is-enabled", "keepscope"); got != "enabled\n" {
		s.t.Errorf("the service is %q", got)
	}
}

// removed asserts that the program is gone, and the service with all its links.
func (s system) removed() {
	s.t.Helper()
	for _, file := range []string{"usr/bin/keepscope", "etc/systemd/system/multi-user.target.wants/keepscope.service"} {
		if _, err := os.Lstat(filepath.Join(s.root, file)); err == nil {
			s.t.Errorf("removed, %s is there", file)
		}
	}
}

// clean asserts that nothing of it is left.
func (s system) clean() {
	s.t.Helper()
	_ = os.Remove(filepath.Join(s.root, "srv/demo.pcapng.zst"))
	err := filepath.WalkDir(s.root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), "keepscope") {
			s.t.Errorf("%s is left", strings.TrimPrefix(path, s.root))
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

// newest returns the newest file that a pattern matches.
func newest(t *testing.T, dir, pattern string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, dir, err)
	}
	return slices.MaxFunc(list, func(a, b string) int {
		one, err := os.Stat(a)
		other, err2 := os.Stat(b)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return one.ModTime().Compare(other.ModTime())
	})
}

// A release is built in two directories, the second with a libpcap, a time zone and a
// mask for new files of its own; and there a binary once more from an empty cache of the
// compiler's. (For each architecture that would take twice as long as all the rest, and
// what is compiled with libpcap is compiled anew for each directory with any cache.)
func TestReleaseIsReproducible(t *testing.T) {
	packages(t)
	tools, err := filepath.Abs("../build/tools")
	if err != nil {
		t.Fatal(err)
	}
	libpcap, err := filepath.Abs("../build/libpcap")
	if err != nil {
		t.Fatal(err)
	}
	source := func() string {
		dir := t.TempDir()
		shell(t, "..", fmt.Sprintf("git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C '%s'", dir))
		if err := os.Mkdir(filepath.Join(dir, "build"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(tools, filepath.Join(dir, "build/tools")); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	build := func(dir, mask string, env ...string) string {
		t.Helper()
		cmd := exec.Command("bash", "-c", "umask "+mask+" && make release VERSION=1.2.3-test COMMIT=0123abcd SOURCE_DATE_EPOCH=1767315845")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make release: %v\n%s", err, out)
		}
		return filepath.Join(dir, "build/release")
	}
	keys := "GNUPGHOME=" + t.TempDir()
	shell(t, ".", keys+" gpg --batch --quiet --passphrase '' --quick-generate-key maintainers@example.com default sign never")
	t.Cleanup(func() { shell(t, ".", keys+" gpgconf --kill gpg-agent") })
	here, there := source(), source()
	here = build(here, "022", "LIBPCAP_CACHE="+libpcap, keys, "SIGNING_KEY=maintainers@example.com")
	again := build(there, "077", "LIBPCAP_CACHE="+there+"/libpcap", "TZ=Asia/Kolkata", "LC_ALL=C.UTF-8", "SIGNING_KEY=")
	if d := cmp.Diff(read(t, filepath.Join(here, "SHA256SUMS")), read(t, filepath.Join(again, "SHA256SUMS"))); d != "" {
		t.Error(d)
	}
	shell(t, there, fmt.Sprintf("GOCACHE=$PWD/cache LIBPCAP_CACHE=$PWD/libpcap deploy/image/static.sh %s anew 1.2.3-test 0123abcd && cmp anew build/package/%[1]s/keepscope", runtime.GOARCH))
	shell(t, here, keys+" gpg --batch --quiet --verify SHA256SUMS.asc SHA256SUMS && rm SHA256SUMS.asc")
	checkRelease(t, here)
}

// checkRelease asserts that a release of version 1.2.3-test is whole.
func checkRelease(t *testing.T, dir string) {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{
		"SHA256SUMS", "keepscope-1.2.3-test.tgz", "keepscope-1.2.3~test-1.aarch64.rpm", "keepscope-1.2.3~test-1.x86_64.rpm",
		"keepscope_1.2.3-test_image.tar", "keepscope_1.2.3-test_linux_amd64.cdx.json", "keepscope_1.2.3-test_linux_amd64.tar.gz",
		"keepscope_1.2.3-test_linux_arm64.cdx.json", "keepscope_1.2.3-test_linux_arm64.tar.gz",
		"keepscope_1.2.3~test_amd64.deb", "keepscope_1.2.3~test_arm64.deb",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	shell(t, dir, "sha256sum --check --strict --quiet SHA256SUMS")
	chart := string(output(t, tool(t, "helm"), "template", "ks", filepath.Join(dir, "keepscope-1.2.3-test.tgz"), "--kube-version", "1.30"))
	if !strings.Contains(chart, "image: keepscope/keepscope:1.2.3-test\n") && !strings.Contains(chart, `image: "keepscope/keepscope:1.2.3-test"`) {
		t.Error("the chart does not run the image of its version")
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		if got := strings.TrimSpace(string(output(t, "dpkg-deb", "--field", fmt.Sprintf("%s/keepscope_1.2.3~test_%s.deb", dir, arch), "Architecture"))); got != arch {
			t.Errorf("the package for %s is for %s", arch, got)
		}
		name := "keepscope_1.2.3-test_linux_" + arch
		unpacked := t.TempDir()
		shell(t, unpacked, fmt.Sprintf("tar -xzf '%s/%s.tar.gz'", dir, name))
		checkStatic(t, filepath.Join(unpacked, name, "keepscope"), machine)
		if arch == runtime.GOARCH {
			if got := string(output(t, filepath.Join(unpacked, name, "keepscope"), "--version")); !strings.HasPrefix(got, "keepscope 1.2.3-test (commit 0123abcd, ") {
				t.Errorf("it says %s", got)
			}
		}
		checkImage(t, filepath.Join(dir, "keepscope_1.2.3-test_image.tar"), arch)
	}
}

// checkStatic asserts that a binary is for a machine and needs no library.
func checkStatic(t *testing.T, path string, machine elf.Machine) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if f.Machine != machine {
		t.Errorf("%s is for %v", path, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s needs a loader", path)
		}
	}
}

// checkImage asserts that the image has a variant for an architecture.
func checkImage(t *testing.T, archive, arch string) {
	t.Helper()
	dir := t.TempDir()
	buildah := []string{"--root", dir + "/store", "--runroot", dir + "/run", "--storage-driver", "vfs"}
	id := strings.TrimSpace(string(output(t, tool(t, "buildah"), append(slices.Clone(buildah), "pull", "-q", "--arch", arch, "oci-archive:"+archive)...)))
	got := strings.TrimSpace(string(output(t, tool(t, "buildah"), append(slices.Clone(buildah), "inspect", "--type", "image", "--format",
		`{{.OCIv1.Architecture}} {{index .OCIv1.Config.Labels "org.opencontainers.image.version"}} {{index .OCIv1.Config.Labels "org.opencontainers.image.revision"}}`, id)...)))
	if want := arch + " 1.2.3-test 0123abcd"; got != want {
		t.Errorf("image: %q, want %q", got, want)
	}
}
