package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// operatorGroup is that of prometheus-operator's objects, of which the API
// server knows no more than their schemas say.
const operatorGroup = "monitoring.coreos.com"

// kubernetes creates each object of a file, up to its being stored.
func kubernetes(file string) (results []result) {
	f, err := os.Open(file)
	if err != nil {
		return verdict(file, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	for documents := yaml.NewYAMLReader(bufio.NewReader(f)); ; {
		text, err := documents.Read()
		switch {
		case errors.Is(err, io.EOF):
			return results
		case err != nil:
			return append(results, verdict(file, err)...)
		case !empty(text):
			results = append(results, create(file, text))
		}
	}
}

// empty says whether a document holds comments only.
func empty(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return false
		}
	}
	return true
}

// create decodes an object strictly, sets defaults and validates it.
func create(file string, text []byte) result {
	r := result{File: file}
	scheme := legacyscheme.Scheme
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	object, kind, err := legacyscheme.Codecs.DecoderToVersion(strict, runtime.InternalGroupVersioner).Decode(text, nil, nil)
	if kind != nil {
		r.Kind = kind.Kind
	}
	switch {
	case err == nil:
		r.validate(object, kind)
	case !runtime.IsNotRegisteredError(err) || kind == nil || kind.Group != operatorGroup:
		r.Errors = []string{err.Error()}
	}
	return r
}

// validate does what the API server does before it stores a new object. What it
// would only warn of is an error, too.
func (r *result) validate(object runtime.Object, kind *schema.GroupVersionKind) {
	var strategy rest.RESTCreateStrategy
	switch o := object.(type) {
	case *apps.Deployment:
		strategy = deployment.Strategy
		r.podSecurity(&o.Spec.Template)
	case *apps.DaemonSet:
		strategy = daemonset.Strategy
		r.podSecurity(&o.Spec.Template)
	case *core.ConfigMap:
		strategy = configmap.Strategy
	case *core.Service:
		if o.Spec.ClusterIP != "" {
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP} // as its storage does
		}
		strategy = service.Strategy
	case *networking.NetworkPolicy:
		strategy = networkpolicy.Strategy
	default:
		r.AddWarning("", "nothing of this kind is shipped")
		return
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		r.AddWarning("", err.Error())
		return
	}
	rest.FillObjectMetaSystemFields(accessor)
	ctx := request.WithNamespace(context.Background(), cmp.Or(accessor.GetNamespace(), "default"))
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{APIGroup: kind.Group, APIVersion: kind.Version})
	if err := rest.BeforeCreate(strategy, warning.WithWarningRecorder(ctx, r), object); err != nil {
		r.AddWarning("", err.Error())
	}
}

// AddWarning implements warning.Recorder.
func (r *result) AddWarning(_, text string) { r.Errors = append(r.Errors, text) }

// podSecurity says which level admits a template's pods, and why the stricter
// ones do not.
func (r *result) podSecurity(internal *core.PodTemplateSpec) {
	var template corev1.PodTemplateSpec
	if err := legacyscheme.Scheme.Convert(internal, &template, nil); err != nil {
		r.AddWarning("", err.Error())
		return
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		r.AddWarning("", err.Error())
		return
	}
	r.PodSecurity = string(api.LevelPrivileged)
	for _, level := range []api.Level{api.LevelBaseline, api.LevelRestricted} {
		version := api.LevelVersion{Level: level, Version: api.LatestVersion()}
		got := policy.AggregateCheckResults(evaluator.EvaluatePod(version, &template.ObjectMeta, &template.Spec))
		if got.Allowed {
			r.PodSecurity = string(level)
		}
		for _, reason := range got.ForbiddenReasons {
			r.Forbidden = append(r.Forbidden, string(level)+": "+reason)
		}
	}
}
