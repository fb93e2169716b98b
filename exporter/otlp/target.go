package otlp

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
)

const (
	// pushTimeout bounds one push.
	pushTimeout = 10 * time.Second
	// scope is what instrumentation calls itself.
	scope = "github.com/keepscope/keepscope"
)

// A Target says where something is pushed, and who pushes.
type Target struct {
	Endpoint string // as http://collector:4318; where it has a path, that is the whole path
	Own      *OwnTraffic
	Version  string // of this program
	Listen   string // the address that this process serves on, which tells it from others
	Log      *slog.Logger
}

// CheckEndpoint says what is wrong with an endpoint, as far as its words tell.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err == nil && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		err = fmt.Errorf("%q is no URL such as http://collector:4318", endpoint)
	}
	return err
}

// url completes the endpoint by the path of what is pushed.
func (t *Target) url(path string) (string, error) {
	if err := CheckEndpoint(t.Endpoint); err != nil {
		return "", err
	}
	u, err := url.Parse(t.Endpoint)
	if u.Path == "" || u.Path == "/" {
		u.Path = path
	}
	return u.String(), err
}

// resource says who pushes: this program on this host, with what
// OTEL_RESOURCE_ATTRIBUTES says of pod and node. Its service.instance.id is another
// for each process whose metrics must not be taken for this one's: the pod's, else a
// hash of the host and the address that it serves on, else by chance.
func (t *Target) resource() *resource.Resource {
	told := resource.Environment().Set()
	list := []attribute.KeyValue{attribute.String("service.name", "keepscope"), attribute.String("service.version", t.Version)}
	add := func(key attribute.Key, value func() string) {
		if !told.HasValue(key) {
			list = append(list, key.String(value()))
		}
	}
	host, _ := os.Hostname()
	add("host.name", func() string { return host })
	add("service.instance.id", func() string {
		if pod, ok := told.Value("k8s.pod.uid"); ok {
			return pod.AsString()
		}
		if pod, ok := told.Value("k8s.pod.name"); ok {
			namespace, _ := told.Value("k8s.namespace.name")
			return namespace.AsString() + "." + pod.AsString()
		}
		if machine, err := os.ReadFile(MachineID); err == nil && len(machine) >= 32 {
			// systemd asks that nobody tells the id itself; containers may share one.
			sum := sha256.Sum256([]byte(string(machine) + host + t.Listen))
			return hex.EncodeToString(sum[:16])
		}
		return rand.Text()
	})
	return resource.NewSchemaless(list...)
}

// MachineID is a file that is read to tell this host from others.
const MachineID = "/etc/machine-id"
