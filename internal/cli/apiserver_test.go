// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"orlop.dev/orlop/api/v1alpha1"
)

// apiServer is as much of an API server as the commands ask of one: objects by path, lists with selectors, creation,
// merge patches, deletion, and watches.
type apiServer struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	objects map[string]*unstructured.Unstructured // by path
	groups  map[string]*metav1.APIResourceList
	denied  map[string]string // resource in a path: the API server's words
	lacks   []string          // what groups begin with that it does not know, as far as they are not among groups
	version int
	changed chan struct{}
	wrote   []string // method and path of each write
	// jobs acts as the controller and the agents do upon a NodeJob that is made or changed.
	jobs   func(*v1alpha1.NodeJob)
	acting sync.WaitGroup
	// metrics is what any pod tells through the proxy.
	metrics string
}

func newAPIServer(t *testing.T, objects ...runtime.Object) *apiServer {
	t.Helper()
	noCluster(t)
	s := &apiServer{t: t, objects: map[string]*unstructured.Unstructured{}, groups: map[string]*metav1.APIResourceList{}, denied: map[string]string{}, changed: make(chan struct{})}
	for _, object := range objects {
		s.put(object)
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.acting.Wait()
		s.Close()
	})
	return s
}

// installed makes the server know Orlop's kinds.
func (s *apiServer) installed() *apiServer {
	s.groups["/apis/orlop.dev/v1alpha1"] = &metav1.APIResourceList{GroupVersion: "orlop.dev/v1alpha1", APIResources: []metav1.APIResource{
		{Name: "imagecaches", Kind: "ImageCache", Namespaced: true}, {Name: "imagestores", Kind: "ImageStore"}, {Name: "imageinventories", Kind: "ImageInventory"},
		{Name: "nodejobs", Kind: "NodeJob", Namespaced: true}, {Name: "nodecronjobs", Kind: "NodeCronJob", Namespaced: true}}}
	return s
}

// put sets an object, which has its kind set.
func (s *apiServer) put(object runtime.Object) {
	s.t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		s.t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: fields}
	gvk := u.GroupVersionKind()
	if gvk.Kind == "" {
		s.t.Fatalf("%T has no kind", object)
	}
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	path := "/apis/" + gvk.Group + "/" + gvk.Version
	if gvk.Group == "" {
		path = "/api/" + gvk.Version
	}
	if u.GetNamespace() != "" {
		path += "/namespaces/" + u.GetNamespace()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(path+"/"+plural.Resource+"/"+u.GetName(), u)
}

// set stores an object and wakes the watches. The lock is held.
func (s *apiServer) set(path string, u *unstructured.Unstructured) {
	s.version++
	u.SetResourceVersion(fmt.Sprint(s.version))
	s.objects[path] = u
	close(s.changed)
	s.changed = make(chan struct{})
}

// get is an object as it is now.
func (s *apiServer) get(path string) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[path]
}

func (s *apiServer) writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wrote)
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.mu.Lock()
	group, isGroup := s.groups[r.URL.Path]
	s.mu.Unlock()
	for resource, words := range s.denied {
		if strings.Contains(r.URL.Path, resource) {
			refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, words)
			return
		}
	}
	switch {
	case isGroup:
		_ = json.NewEncoder(w).Encode(group)
	case isVersion(r.URL.Path) && slices.ContainsFunc(s.lacks, func(prefix string) bool { return strings.HasPrefix(r.URL.Path, prefix) }):
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	case strings.HasSuffix(r.URL.Path, "/proxy/metrics"):
		_, _ = io.WriteString(w, s.metrics)
	case r.URL.Path == "/version":
		_, _ = io.WriteString(w, `{"major":"1","minor":"37","gitVersion":"v1.37.2"}`)
	case strings.HasPrefix(r.URL.Path, "/apis/orlop.dev") && len(s.groups) == 0:
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "":
		s.watch(w, r)
	case r.Method == http.MethodGet:
		s.read(w, r)
	default:
		s.write(w, r)
	}
}

// isVersion reports whether a path is that of a version of a group, as discovery asks for it.
func isVersion(path string) bool {
	return strings.HasPrefix(path, "/apis/") && strings.Count(path, "/") == 3
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, words string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: words})
}

func (s *apiServer) read(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.objects[r.URL.Path]; found != nil {
		_ = json.NewEncoder(w).Encode(found.Object)
		return
	}
	if segments := strings.Split(strings.Trim(r.URL.Path, "/"), "/"); isName(segments) {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, segments[len(segments)-1]+" not found")
		return
	}
	items := []any{}
	for _, u := range s.chosen(r) {
		items = append(items, u.Object)
	}
	kind := "List"
	if strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList") {
		kind = "PartialObjectMetadataList"
	}
	version := "v1"
	if kind != "List" {
		version = "meta.k8s.io/v1"
	} else if strings.Contains(r.URL.Path, "orlop.dev") {
		version, kind = "orlop.dev/v1alpha1", map[string]string{"imagecaches": "ImageCacheList", "imagestores": "ImageStoreList", "imageinventories": "ImageInventoryList",
			"nodejobs": "NodeJobList", "nodecronjobs": "NodeCronJobList"}[last(r.URL.Path)]
	} else if gvk := s.kindOf(r.URL.Path); gvk != "" {
		version, kind = strings.SplitN(gvk, " ", 2)[0], strings.SplitN(gvk, " ", 2)[1]
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{"resourceVersion": fmt.Sprint(s.version)}, "items": items})
}

// kindOf is the list's kind of a collection of the cluster's own. The lock is held.
func (s *apiServer) kindOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	version := parts[1]
	if parts[0] == "apis" {
		version = parts[1] + "/" + parts[2]
	}
	kinds := map[string]string{"pods": "PodList", "nodes": "NodeList", "deployments": "DeploymentList", "daemonsets": "DaemonSetList", "leases": "LeaseList",
		"validatingadmissionpolicies": "ValidatingAdmissionPolicyList", "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBindingList"}
	if kind := kinds[last(path)]; kind != "" {
		return version + " " + kind
	}
	return ""
}

func last(path string) string { return path[strings.LastIndex(path, "/")+1:] }

// isName reports whether a path names one object: the root, a version, perhaps a namespace, a resource, a name.
func isName(segments []string) bool {
	n := len(segments) - 2
	if segments[0] == "apis" {
		n--
	}
	if n >= 2 && segments[len(segments)-n] == "namespaces" && n > 2 {
		n -= 2
	}
	return n == 2
}

// chosen are the objects of a collection that the selectors fit. The lock is held.
func (s *apiServer) chosen(r *http.Request) []*unstructured.Unstructured {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		s.t.Errorf("%s: %v", r.URL, err)
	}
	name, _ := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	collection := last(r.URL.Path)
	before, inNamespace := strings.CutSuffix(r.URL.Path, "/"+collection)
	var found []*unstructured.Unstructured
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		u := s.objects[path]
		fits := strings.HasPrefix(path, r.URL.Path+"/") || inNamespace && strings.HasPrefix(path, before+"/namespaces/") && strings.Contains(path, "/"+collection+"/")
		if fits && selector.Matches(labels.Set(u.GetLabels())) && (name == "" || name == u.GetName() || !strings.Contains(r.URL.RawQuery, "metadata.name")) {
			found = append(found, u)
		}
	}
	return found
}

// watch shows each object anew whenever something has changed, and those that are gone.
func (s *apiServer) watch(w http.ResponseWriter, r *http.Request) {
	flusher, ok := w.(http.Flusher)
	if !ok {
		return
	}
	flusher.Flush()
	shown := map[string]*unstructured.Unstructured{}
	for {
		s.mu.Lock()
		gone := shown
		shown = map[string]*unstructured.Unstructured{}
		for _, u := range s.chosen(r) {
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": u.Object})
			name := u.GetNamespace() + "/" + u.GetName()
			shown[name] = u
			delete(gone, name)
		}
		for _, u := range gone {
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "DELETED", "object": u.Object})
		}
		changed := s.changed
		s.mu.Unlock()
		flusher.Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *apiServer) write(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dry := r.URL.Query().Get("dryRun") != ""
	switch { // What the typed client sends is protobuf.
	case strings.HasSuffix(r.URL.Path, "selfsubjectaccessreviews"):
		_, _ = io.WriteString(w, `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","status":{"allowed":true}}`)
		return
	case strings.HasSuffix(r.URL.Path, "selfsubjectreviews"):
		_, _ = io.WriteString(w, `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview","status":{"userInfo":{"username":"ann"}}}`)
		return
	case strings.HasSuffix(r.URL.Path, "/pods") && dry:
		_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"Pod"}`)
		return
	}
	if !dry {
		s.wrote = append(s.wrote, r.Method+" "+r.URL.Path)
	}
	path, u := r.URL.Path, &unstructured.Unstructured{}
	switch r.Method {
	case http.MethodPost:
		if err := json.Unmarshal(body, &u.Object); err != nil {
			s.t.Error(err)
		}
		path += "/" + u.GetName()
		u.SetCreationTimestamp(metav1.NewTime(time.Unix(1, 0)))
		u.SetGeneration(1)
		u.SetUID(types.UID("uid-of-" + u.GetName()))
		if s.objects[path] != nil {
			refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, u.GetName()+" already exists")
			return
		}
	case http.MethodPatch:
		if s.objects[path] == nil {
			refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "not found")
			return
		}
		u = s.objects[path].DeepCopy()
		var patch map[string]any
		if err := json.Unmarshal(body, &patch); err != nil {
			s.t.Error(err)
		}
		merge(u.Object, patch)
		if patch["spec"] != nil && u.GetKind() == "NodeJob" {
			u.SetGeneration(u.GetGeneration() + 1)
		}
	case http.MethodDelete:
		maps.DeleteFunc(s.objects, func(at string, _ *unstructured.Unstructured) bool {
			return at == path || strings.HasPrefix(at, path+"/")
		})
		s.collect(path)
		close(s.changed)
		s.changed = make(chan struct{})
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
		return
	}
	if !dry {
		s.set(path, u)
		s.actUpon(u)
	}
	_ = json.NewEncoder(w).Encode(u.Object)
}

// actUpon lets the controller of a test act. The lock is held.
func (s *apiServer) actUpon(u *unstructured.Unstructured) {
	job := &v1alpha1.NodeJob{}
	if s.jobs == nil || u.GetKind() != "NodeJob" || runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, job) != nil {
		return
	}
	s.acting.Go(func() { s.jobs(job) })
}

// collect ends the pods of a workload that was deleted. Those that are not ready are on nodes that are away: they stay. The lock
// is held.
func (s *apiServer) collect(path string) {
	for kind, component := range map[string]string{"/daemonsets/": "agent", "/deployments/": "controller"} {
		if !strings.Contains(path, kind) {
			continue
		}
		maps.DeleteFunc(s.objects, func(at string, u *unstructured.Unstructured) bool {
			text, err := u.MarshalJSON()
			ready := err == nil && strings.Contains(string(text), `"status":"True","type":"Ready"`)
			return strings.Contains(at, "/pods/") && u.GetLabels()["app.kubernetes.io/component"] == component && ready
		})
	}
}

// merge applies a JSON merge patch.
func merge(into, patch map[string]any) {
	for key, value := range patch {
		inner, isMap := value.(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap:
			below, ok := into[key].(map[string]any)
			if !ok {
				below = map[string]any{}
				into[key] = below
			}
			merge(below, inner)
		default:
			into[key] = value
		}
	}
}
