package otlp

import (
	"os"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/resource"
)

// TestInstances holds that each process that pushes has an id of its own, the same
// after a restart where that can be.
func TestInstances(t *testing.T) {
	id := func(listen, attributes string) string {
		t.Setenv("OTEL_RESOURCE_ATTRIBUTES", attributes)
		merged, err := resource.Merge(resource.Environment(), (&Target{Listen: listen}).resource())
		if err != nil {
			t.Fatal(err)
		}
		v, _ := merged.Set().Value("service.instance.id")
		return v.AsString()
	}
	pod := "k8s.pod.name=web-1,k8s.namespace.name=shop"
	for attributes, want := range map[string]string{
		pod: "shop.web-1", pod + ",k8s.pod.uid=u-1": "u-1", pod + ",service.instance.id=mine": "mine",
	} {
		if got := id(":1", attributes); got != want {
			t.Errorf("%s: %q, want %q", attributes, got, want)
		}
	}
	one, other := id(":1", ""), id(":2", "")
	if one == other || len(one) < 16 {
		t.Errorf("two processes of a host are %q and %q", one, other)
	}
	if machine, err := os.ReadFile(MachineID); err == nil && len(machine) >= 32 && id(":1", "") != one {
		t.Error("a process is another after a restart")
	}
}

func TestPushUsage(t *testing.T) {
	for _, endpoint := range []string{"collector:4318", "ftp://collector", "http://", "::"} {
		if _, err := PushMetrics(Target{Endpoint: endpoint, Log: quiet}, nil, time.Second, false); err == nil {
			t.Errorf("%q is taken", endpoint)
		}
	}
}
