package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	podregistry "k8s.io/kubernetes/pkg/registry/core/pod"
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

// validate does what the API server does before it stores a new object, and then
// the pods that come of it.
func (r *result) validate(object runtime.Object, kind *schema.GroupVersionKind) {
	switch o := object.(type) {
	case *apps.Deployment:
		r.admit(deployment.Strategy, o, kind)
		r.pod(&o.ObjectMeta, &o.Spec.Template)
	case *apps.DaemonSet:
		r.admit(daemonset.Strategy, o, kind)
		r.pod(&o.ObjectMeta, &o.Spec.Template)
	case *batch.Job:
		r.admit(job.Strategy, o, kind)
		r.pod(&o.ObjectMeta, &o.Spec.Template)
	case *batch.CronJob:
		r.admit(cronjob.Strategy, o, kind)
		r.pod(&o.ObjectMeta, &o.Spec.JobTemplate.Spec.Template)
	case *core.Pod:
		r.debug(o, kind)
	case *core.ConfigMap:
		r.admit(configmap.Strategy, o, kind)
	case *core.Service:
		if o.Spec.ClusterIP != "" {
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP} // as its storage does
		}
		r.admit(service.Strategy, o, kind)
	case *networking.NetworkPolicy:
		r.admit(networkpolicy.Strategy, o, kind)
	default:
		r.AddWarning("", "nothing of this kind is shipped")
	}
}

// admit says what speaks against an object. What the API server would only warn
// of is an error, too.
func (r *result) admit(strategy rest.RESTCreateStrategy, object runtime.Object, kind *schema.GroupVersionKind) {
	accessor, err := meta.Accessor(object)
	if err == nil {
		rest.FillObjectMetaSystemFields(accessor)
		ctx := request.WithNamespace(context.Background(), cmp.Or(accessor.GetNamespace(), metav1.NamespaceDefault))
		ctx = request.WithRequestInfo(ctx, &request.RequestInfo{APIGroup: kind.Group, APIVersion: kind.Version})
		err = rest.BeforeCreate(strategy, warning.WithWarningRecorder(ctx, r), object)
	}
	if err != nil {
		r.AddWarning("", err.Error())
	}
}

// AddWarning implements warning.Recorder.
func (r *result) AddWarning(_, text string) {
	if !slices.Contains(r.Errors, text) {
		r.Errors = append(r.Errors, text)
	}
}

// pod admits a pod as a controller makes it of its template, and says which level
// of Pod Security it needs.
func (r *result) pod(owner *metav1.ObjectMeta, template *core.PodTemplateSpec) {
	scheme := legacyscheme.Scheme
	var v1 corev1.PodTemplateSpec
	var internal core.Pod
	err := scheme.Convert(template, &v1, nil)
	pod := &corev1.Pod{ObjectMeta: v1.ObjectMeta, Spec: v1.Spec}
	if err == nil {
		pod.Name, pod.Namespace = owner.Name+"-0", owner.Namespace
		r.podSecurity(pod)
		scheme.Default(pod)
		err = scheme.Convert(pod, &internal, nil)
	}
	if err != nil {
		r.AddWarning("", err.Error())
		return
	}
	kind := corev1.SchemeGroupVersion.WithKind("Pod")
	r.admit(podregistry.Strategy, &internal, &kind)
}

// debug admits a pod, and then its ephemeral containers as kubectl debug adds them.
func (r *result) debug(pod *core.Pod, kind *schema.GroupVersionKind) {
	running := pod.DeepCopy()
	running.Spec.EphemeralContainers = nil
	r.admit(podregistry.Strategy, running, kind)
	running.ResourceVersion = "1" // it is stored by then
	pod.ObjectMeta = running.ObjectMeta
	for _, err := range podregistry.EphemeralContainersStrategy.ValidateUpdate(context.Background(), pod, running) {
		r.AddWarning("", err.Error())
	}
	var v1 corev1.Pod
	if err := legacyscheme.Scheme.Convert(pod, &v1, nil); err != nil {
		r.AddWarning("", err.Error())
		return
	}
	r.podSecurity(&v1)
}

// podSecurity says which level admits a pod, and why the stricter ones do not.
func (r *result) podSecurity(pod *corev1.Pod) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		r.AddWarning("", err.Error())
		return
	}
	r.PodSecurity = string(api.LevelPrivileged)
	for _, level := range []api.Level{api.LevelBaseline, api.LevelRestricted} {
		version := api.LevelVersion{Level: level, Version: api.LatestVersion()}
		got := policy.AggregateCheckResults(evaluator.EvaluatePod(version, &pod.ObjectMeta, &pod.Spec))
		if got.Allowed {
			r.PodSecurity = string(level)
		}
		for _, reason := range got.ForbiddenReasons {
			r.Forbidden = append(r.Forbidden, string(level)+": "+reason)
		}
	}
}
