package deploy

import (
	"slices"
	"strings"
	"testing"
)

// The jobs of an archive are valid, for the API server too, and as confined as a
// sidecar. What their command lines do is tested where the program is.
func TestArchiveJobs(t *testing.T) {
	const file = "kubernetes/archive-job.yaml"
	output(t, tool(t, "kubectl-validate"), "--version", "1.30", file)
	verdicts := validate(t, "kubernetes", file)
	for _, v := range verdicts {
		if v.Kind != "Job" || len(v.Errors) > 0 || v.PodSecurity != "privileged" ||
			!slices.Equal(v.Forbidden, []string{"baseline: non-default capabilities", "restricted: unrestricted capabilities"}) {
			t.Errorf("%+v", v)
		}
	}
	jobs := documents(t, []byte(read(t, file)))
	if len(jobs) != 2 || len(verdicts) != 2 {
		t.Fatalf("%d jobs, %d verdicts", len(jobs), len(verdicts))
	}
	for _, job := range jobs {
		c := list(at(job, "spec", "template", "spec", "containers"))[0]
		for key, want := range map[string]any{"runAsNonRoot": true, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "privileged": false} {
			if got := at(c, "securityContext", key); got != want {
				t.Errorf("securityContext.%s is %v", key, got)
			}
		}
		if got := capabilities(c); !slices.Equal(got, []string{"NET_RAW"}) {
			t.Errorf("capabilities %v", got)
		}
	}
}

func TestAPIServerRefusesJobs(t *testing.T) {
	text := read(t, "kubernetes/archive-job.yaml")
	for _, c := range []struct{ before, after, want string }{
		{"  completions: 4\n", "", "completions"},
		{"            claimName: captures\n", "", "claimName"},
		{"  completionMode: Indexed\n", "  completionMode: Numbered\n", "completionMode"},
	} {
		got := validate(t, "kubernetes", write(t, replace(t, text, c.before, c.after)))
		if said := strings.Join(got[0].Errors, "\n"); !strings.Contains(said, c.want) {
			t.Errorf("not refused for %q: %s", c.want, said)
		}
	}
}
