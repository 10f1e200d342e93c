// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/operator"
)

// cluster is as much of an API server as one NodeJob and the stores of its nodes take, with whoever answers behind it.
type cluster struct {
	t      *testing.T
	client *operator.Client
	// answer acts as the controller and the agents do, whenever the job is made or changed.
	answer func(c *cluster, job v1alpha1.NodeJob)

	mu      sync.Mutex
	job     *v1alpha1.NodeJob
	stores  map[string]*v1alpha1.ImageStore
	patches []string
	deleted bool
	changed chan struct{}
	acting  sync.WaitGroup
}

func newCluster(t *testing.T, answer func(c *cluster, job v1alpha1.NodeJob)) *cluster {
	t.Helper()
	c := &cluster{t: t, answer: answer, stores: map[string]*v1alpha1.ImageStore{}, changed: make(chan struct{})}
	server := httptest.NewServer(c)
	t.Cleanup(func() {
		c.acting.Wait()
		server.Close()
	})
	var err error
	if c.client, err = operator.New(&rest.Config{Host: server.URL}); err != nil {
		t.Fatal(err)
	}
	return c
}

// wake tells the watches. The lock is held.
func (c *cluster) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// says is the answer of the node a to the job.
func (c *cluster) says(job v1alpha1.NodeJob, answer v1alpha1.StoreJobStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer.UID, answer.DryRun = string(job.UID), job.Spec.DryRun
	const node = "a"
	c.stores[node] = &v1alpha1.ImageStore{TypeMeta: metav1.TypeMeta{APIVersion: "orlop.dev/v1alpha1", Kind: "ImageStore"}, ObjectMeta: metav1.ObjectMeta{Name: node, ResourceVersion: "1"},
		Status: v1alpha1.ImageStoreStatus{Runtime: "containerd://2.4.2", Jobs: []v1alpha1.StoreJobStatus{answer}}}
	c.wake()
}

// looked says that the controller has seen the job.
func (c *cluster) looked(job v1alpha1.NodeJob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.job.Status.ObservedGeneration = job.Generation
	c.wake()
}

// ends gives the job a condition, and what else its status has.
func (c *cluster) ends(job v1alpha1.NodeJob, condition, reason string, status v1alpha1.NodeJobStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.job == nil {
		return
	}
	status.ObservedGeneration = job.Generation
	status.Conditions = []metav1.Condition{{Type: condition, Status: metav1.ConditionTrue, Reason: reason, Message: "so it is"}}
	c.job.Status = status
	c.wake()
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	jobs := strings.Contains(r.URL.Path, "/nodejobs")
	switch {
	case r.URL.Query().Get("watch") != "":
		c.watch(w, r, jobs)
	case r.Method == http.MethodGet:
		c.mu.Lock()
		found := c.find(name, jobs)
		c.mu.Unlock()
		if found == nil {
			w.WriteHeader(http.StatusNotFound)
			found = metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound}
		}
		_ = json.NewEncoder(w).Encode(found)
	default:
		c.write(w, r)
	}
}

// find is an object as it is; nil: it is not there. The lock is held.
func (c *cluster) find(name string, jobs bool) any {
	if jobs {
		if c.job == nil {
			return nil
		}
		return c.job.DeepCopy()
	}
	if store := c.stores[name]; store != nil {
		return store.DeepCopy()
	}
	return nil
}

func (c *cluster) watch(w http.ResponseWriter, r *http.Request, jobs bool) {
	flusher, ok := w.(http.Flusher)
	if !ok {
		return
	}
	name, _ := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	for there := false; ; {
		c.mu.Lock()
		found, changed, kind := c.find(name, jobs), c.changed, "MODIFIED"
		c.mu.Unlock()
		if there = there || found != nil; found == nil && there && jobs {
			found, kind = &v1alpha1.NodeJob{TypeMeta: metav1.TypeMeta{APIVersion: "orlop.dev/v1alpha1", Kind: "NodeJob"}}, "DELETED"
		}
		if found != nil {
			_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": found})
		}
		flusher.Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (c *cluster) write(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.Method {
	case http.MethodDelete:
		c.job, c.deleted = nil, true
		c.wake()
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
		return
	case http.MethodPost:
		c.job = &v1alpha1.NodeJob{}
		err = json.Unmarshal(body, c.job)
		c.job.UID = "uid"
	case http.MethodPatch:
		if !strings.Contains(string(body), `"spec"`) { // That somebody looks on.
			_ = json.NewEncoder(w).Encode(c.job)
			return
		}
		c.patches = append(c.patches, string(body))
		err = json.Unmarshal(body, c.job)
	}
	if err != nil {
		c.t.Error(err)
	}
	c.job.Generation++
	c.job.ResourceVersion = "1"
	c.wake()
	if c.answer != nil {
		job := *c.job.DeepCopy()
		c.acting.Go(func() { c.answer(c, job) })
	}
	_ = json.NewEncoder(w).Encode(c.job)
}

// nodes are machines that can be asked.
func nodes(names ...string) (all []fleet.Node) {
	for _, name := range names {
		all = append(all, fleet.Node{Name: name, OS: "linux", Arch: "amd64"})
	}
	return all
}

// patience is how long a test lets a job take that should not take it.
const patience = 30 * time.Second
