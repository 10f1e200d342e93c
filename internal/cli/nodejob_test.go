// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/term"
)

// answers are what nodes say to a NodeJob, by node; as the job is, so they are. A node that is not there is away.
type answers map[string]v1alpha1.StoreJobStatus

// operated makes the server's NodeJobs be answered: a dry run by plans, anything else by what was done.
func (s *apiServer) operated(plans, done answers) {
	s.jobs = func(job *v1alpha1.NodeJob) {
		say := done
		if job.Spec.DryRun {
			say = plans
		}
		s.answer(job, say)
	}
}

// answer has nodes answer a NodeJob, which is complete by it.
func (s *apiServer) answer(job *v1alpha1.NodeJob, say answers) {
	status := v1alpha1.NodeJobStatus{ObservedGeneration: job.Generation, Desired: int32(len(say)), Conditions: []metav1.Condition{
		{Type: v1alpha1.ConditionComplete, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonNodesDone, LastTransitionTime: metav1.Now()}}}
	for _, node := range slices.Sorted(maps.Keys(say)) {
		answer := say[node]
		answer.UID, answer.DryRun = string(job.UID), job.Spec.DryRun
		store := aStore(node)
		store.Status.Jobs = []v1alpha1.StoreJobStatus{answer}
		s.put(store)
		status.Succeeded++
	}
	status.SkippedNodes = []v1alpha1.NodeJobFailure{{Node: "node-3", Reason: v1alpha1.ReasonAgentNotReady, Message: "its agent is not ready"}}
	job = job.DeepCopy()
	job.TypeMeta, job.Status = ofKind("NodeJob"), status
	if s.get("/apis/orlop.dev/v1alpha1/namespaces/"+job.Namespace+"/nodejobs/"+job.Name) != nil {
		s.put(job)
	}
}

// jobsMade are the names of the NodeJobs that are there.
func (s *apiServer) jobsThere(t *testing.T) []v1alpha1.NodeJob {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []v1alpha1.NodeJob
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.Contains(path, "/nodejobs/") {
			continue
		}
		raw, err := s.objects[path].MarshalJSON()
		job := v1alpha1.NodeJob{}
		if err != nil || json.Unmarshal(raw, &job) != nil {
			t.Fatalf("%s cannot be read: %v", path, err)
		}
		found = append(found, job)
	}
	return found
}

func pulled(image string, bytes int64) v1alpha1.StoreJobStatus {
	begun := metav1.NewTime(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	over := metav1.NewTime(begun.Add(3 * time.Second))
	return v1alpha1.StoreJobStatus{State: v1alpha1.JobSucceeded, Pulled: 1, Bytes: bytes, StartTime: &begun, CompletionTime: &over,
		Images: []v1alpha1.JobImage{{Image: image, State: v1alpha1.JobImagePulled, Digest: digestA, Bytes: bytes}}}
}

// TestPullByANodeJob: what the agents answer is told as what pods answer, and nodes that are away are rows.
func TestPullByANodeJob(t *testing.T) {
	const image = "docker.io/library/nginx:1.29"
	failed := v1alpha1.StoreJobStatus{State: v1alpha1.JobFailed, Failed: 1, Images: []v1alpha1.JobImage{
		{Image: image, State: v1alpha1.JobImageFailed, Reason: "Unauthorized", Message: "pulling " + image + ": 401 from the registry"}}}
	s := shop(t)
	s.operated(nil, answers{"node-1": pulled(image, 71e6), "node-2": failed})
	code, out, errs := s.run("pull", "nginx:1.29", "-n", "shop", "--max-parallel", "2", "--secret", "shop/regcred")
	want := `NODE     IMAGE                          STATE       PULL   TOOK   DIGEST          MESSAGE
node-1   docker.io/library/nginx:1.29   pulled      71MB   3s     aaaaaaaaaaaaa   -
node-2   docker.io/library/nginx:1.29   failed         -   -      -               Unauthorized
node-3   -                              skipped        -   -      -               AgentNotReady
node-4   -                              skipped        -   -      -               NotReady
`
	if diff := cmp.Diff(strings.Join(strings.Fields(want), " "), strings.Join(strings.Fields(out), " ")); diff != "" || code != term.ExitPartial {
		t.Errorf("exit code %d %s\n%s", code, diff, out)
	}
	made := s.jobsThere(t)
	if len(made) != 1 {
		t.Fatalf("%d NodeJobs", len(made))
	}
	job := made[0]
	expect(t, errs, "asking 4 nodes by NodeJob shop/"+job.Name, "node-3 │ skipped", "1 pulled, 0 present, 1 failed on 4 nodes", "401 from the registry",
		"try: allow them with --secret", "node-3 (AgentNotReady): its agent is not ready", "--ephemeral", "--node node-3,node-4")
	if !strings.HasPrefix(job.Name, "pull-") || job.Annotations[v1alpha1.AnnotationRequestedBy] != "ann" || job.Spec.Parallelism.IntValue() != 2 || *job.Spec.TTLSecondsAfterFinished != 3600 ||
		job.Spec.Tolerations[0].Operator != "Exists" || len(job.Spec.NodeNames) != 0 || job.Labels["app.kubernetes.io/managed-by"] == "" {
		t.Errorf("%s %v %+v", job.Name, job.Annotations, job.Spec)
	}
	if diff := cmp.Diff(&v1alpha1.PullAction{Images: []string{image}, ImagePullSecrets: []v1alpha1.SecretReference{{Name: "regcred"}}}, job.Spec.Pull); diff != "" {
		t.Error(diff)
	}
}

// TestNodesOfANodeJob: labels stay labels, and all else becomes the names that it chose.
func TestNodesOfANodeJob(t *testing.T) {
	for name, tt := range map[string]struct {
		flags    string
		names    []string
		selector map[string]string
		affinity bool
	}{
		"all":      {"", nil, nil, false},
		"labels":   {"-l pool=web", nil, map[string]string{"pool": "web"}, false},
		"not":      {"-l pool=web,zone!=b", nil, map[string]string{"pool": "web"}, true},
		"by name":  {"--node node-2,node-1", []string{"node-1", "node-2"}, nil, false},
		"by field": {"--field-selector metadata.name=node-1", []string{"node-1"}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			for _, node := range []string{"node-1", "node-2"} {
				labelled := aNode(node, "True")
				labelled.Labels = map[string]string{"pool": "web"}
				s.put(labelled)
			}
			s.operated(nil, answers{"node-1": pulled("docker.io/library/nginx:1", 1), "node-2": pulled("docker.io/library/nginx:1", 1)})
			s.run(append([]string{"pull", "nginx:1"}, strings.Fields(tt.flags)...)...)
			made := s.jobsThere(t)
			if len(made) != 1 {
				t.Fatalf("%d NodeJobs", len(made))
			}
			spec := made[0].Spec
			if diff := cmp.Diff(tt.names, spec.NodeNames) + cmp.Diff(tt.selector, spec.NodeSelector); diff != "" || tt.affinity != (spec.Affinity != nil) {
				t.Errorf("%s %+v", diff, spec.Affinity)
			}
		})
	}
}

func freeing(images ...v1alpha1.JobImage) v1alpha1.StoreJobStatus {
	bytes := int64(2e8)
	a := v1alpha1.StoreJobStatus{State: v1alpha1.JobSucceeded, Images: images, Bytes: bytes, FreedBytes: &bytes, DiskBefore: 2000, DiskAfter: 1980}
	for _, image := range images {
		if image.State == v1alpha1.JobImageRemoved {
			a.Removed++
		}
	}
	return a
}

var (
	redisGoes = v1alpha1.JobImage{Image: "docker.io/library/redis:8", State: v1alpha1.JobImageRemoved, ID: "sha256:2222222222222222", Bytes: 2e8}
	webStays  = v1alpha1.JobImage{Image: "ghcr.io/acme/web:1", State: v1alpha1.JobImageKept, ID: "sha256:1111111111111111", Reason: "InUse", Message: "in use by shop/web-1"}
)

// TestRmByANodeJob has the plan of a dry run, and the answers of the act.
func TestRmByANodeJob(t *testing.T) {
	s := shop(t)
	both := answers{"node-1": freeing(redisGoes, webStays), "node-2": freeing(redisGoes)}
	s.operated(both, both)
	code, out, errs := s.run("rm", "redis:8", "ghcr.io/acme/web:1", "--node", "node-1,node-2", "--dry-run")
	want := `ID              NODES   FREES   IMAGE   NAMES THAT GO
2222222222222       2   400MB   goes    docker.io/library/redis:8

SPARED               BECAUSE                WHERE
ghcr.io/acme/web:1   in use by shop/web-1   node-1
`
	if diff := cmp.Diff(want, out); diff != "" || code != 0 {
		t.Errorf("exit code %d %s %s", code, diff, errs)
	}
	expect(t, errs, "2 images to remove on 2 nodes, which frees about 400MB. Nothing was removed (dry run).")
	if left := s.jobsThere(t); len(left) != 0 {
		t.Errorf("the NodeJob of the dry run is left: %s", left[0].Name)
	}
	code, out, errs = s.run("rm", "redis:8", "ghcr.io/acme/web:1", "--node", "node-1,node-2", "--yes")
	want = `NODE     STATE   REMOVED   FREED   SPARED   FAILED   DISK
node-1   done          1   200MB        1        0   20 % → 20 %
node-2   done          1   200MB        0        0   20 % → 20 %
`
	if diff := cmp.Diff(want, out); diff != "" || code != 0 {
		t.Errorf("exit code %d %s %s", code, diff, errs)
	}
	expect(t, errs, "2 images removed, 400MB freed (measured), 1 spared, 0 failed on 2 nodes", "in use by shop/web-1")
	if made := s.jobsThere(t); len(made) != 1 || made[0].Spec.DryRun || made[0].Spec.Remove.Images[0] != "redis:8" {
		t.Errorf("%+v", made)
	}
}

// TestPruneByANodeJob: the plan has what answers leave out, from the inventories.
func TestPruneByANodeJob(t *testing.T) {
	s := shop(t)
	s.operated(answers{"node-1": freeing(redisGoes, webStays)}, nil)
	code, out, errs := s.run("prune", "--all", "--dry-run", "--node", "node-1,node-3")
	if code != term.ExitPartial {
		t.Errorf("exit code %d %s", code, errs)
	}
	expect(t, out, "NODE     DISK USED   IMAGES   TO REMOVE   RECLAIM   DISK AFTER   SPARED", "node-1        20 %        2           1     200MB         20 %   1 in use", "skipped: its agent is not ready")
	_, out, _ = s.run("prune", "--all", "--dry-run", "--node", "node-1", "-o", "json")
	var doc struct {
		Items []struct {
			Endpoint string
			Plan     struct {
				Disk   struct{ CapacityBytes int64 }
				Remove []struct{ Image struct{ DiskBytes int64 } }
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Items[0].Plan.Disk.CapacityBytes != 100e9 || doc.Items[0].Plan.Remove[0].Image.DiskBytes != 2e8 ||
		doc.Items[0].Endpoint != "unix:///run/containerd/containerd.sock" {
		t.Errorf("%v %s", err, out)
	}
}

// TestLeaveANodeJob makes it, and says how to follow.
func TestLeaveANodeJob(t *testing.T) {
	s := shop(t)
	code, out, errs := s.run("pull", "nginx:1", "--wait=false", "-n", "shop", "--ttl", "5m")
	made := s.jobsThere(t)
	if code != 0 || len(made) != 1 || out != "nodejob.orlop.dev/"+made[0].Name+" created\n" || *made[0].Spec.TTLSecondsAfterFinished != 300 {
		t.Fatalf("exit code %d %s %s", code, out, errs)
	}
	expect(t, errs, "See: kubectl orlop job list "+made[0].Name+" -n shop")
	code, _, errs = newAPIServer(t, aNode("node-1", "True")).run("pull", "nginx:1", "--wait=false")
	if code != term.ExitError {
		t.Errorf("without Orlop: exit code %d", code)
	}
	expect(t, errs, "--wait=false leaves the work to a NodeJob", "not installed")
}

// TestWhatANodeJobCannotTake is told, and not dropped.
func TestWhatANodeJobCannotTake(t *testing.T) {
	s := shop(t)
	s.operated(nil, answers{"node-1": pulled("docker.io/library/nginx:1", 1)})
	for name, tt := range map[string]struct{ flags, says string }{
		"secrets of two namespaces": {"--secret shop/a --secret web/b", "takes Secrets of that namespace only"},
		"of another than its own":   {"-n web --secret shop/a", "takes Secrets of that namespace only"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := s.run(append([]string{"pull", "nginx:1", "--node", "node-1"}, strings.Fields(tt.flags)...)...)
			if code != term.ExitError || len(s.jobsThere(t)) > 0 {
				t.Errorf("exit code %d", code)
			}
			expect(t, errs, tt.says, "--ephemeral")
		})
	}
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	if err := os.WriteFile(dir+"/config.json", []byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"YW5uOnNlY3JldA=="}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, errs := s.run("pull", "nginx:1", "--node", "node-1")
	expect(t, errs, "your docker login for docker.io stays on this machine", "kubectl orlop pull nginx:1 --node node-1", "--ephemeral")
}

// TestRightsToANodeJob: the policy's words become the role that is missing.
func TestRightsToANodeJob(t *testing.T) {
	for name, tt := range map[string]struct {
		words string
		says  []string
	}{
		"the action": {`nodejobs.orlop.dev "rm-x" is forbidden: ValidatingAdmissionPolicy 'orlop-nodejob-rights' with binding 'orlop-nodejob-rights' denied request: ann may not let a NodeJob remove images on nodes in namespace shop: that takes the right to create nodejobs/remove (ClusterRole orlop-operate)`,
			[]string{"you have no permission to let a NodeJob remove images in namespace shop", "kubectl create rolebinding orlop-operate -n shop --clusterrole orlop-operate --user ann"}},
		"the kind": {`nodejobs.orlop.dev is forbidden: User "ann" cannot create resource "nodejobs" in API group "orlop.dev" in the namespace "shop"`,
			[]string{"no permission to create nodejobs.orlop.dev in namespace shop", "kubectl create rolebinding orlop-operate -n shop --clusterrole orlop-operate --user ann"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			s.denied["/nodejobs"] = tt.words
			code, _, errs := s.run("rm", "redis:8", "--yes", "-n", "shop")
			if code != term.ExitError || strings.Count(errs, "\n") > 4 {
				t.Errorf("exit code %d %s", code, errs)
			}
			expect(t, errs, tt.says...)
		})
	}
}

// TestInterruptANodeJob: Ctrl-C leaves it going, and a second one deletes it.
func TestInterruptANodeJob(t *testing.T) {
	for name, tt := range map[string]struct {
		twice bool
		says  string
		left  int
	}{
		"once":  {false, "goes on.", 1},
		"twice": {true, "is deleted", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			interrupt := func() {
				if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
					t.Error(err)
				}
			}
			var told atomic.Bool
			ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
			defer stop()
			var out bytes.Buffer
			errs := &listening{heard: func(text string) {
				switch {
				case strings.Contains(text, "asking") && !told.Swap(true):
					interrupt()
				case strings.Contains(text, "again within") && tt.twice:
					time.AfterFunc(300*time.Millisecond, interrupt)
				}
			}}
			code := Run(ctx, Config{Streams: term.Streams{In: strings.NewReader(""), Out: &out, Err: errs}}, []string{"kubectl-orlop", "pull", "nginx:1", "--server", s.URL})
			if code != term.ExitInterrupted || out.Len() > 0 {
				t.Errorf("exit code %d %s", code, out.String())
			}
			expect(t, errs.String(), "goes on; Ctrl-C again within 2s cancels it", tt.says)
			if n := len(s.jobsThere(t)); n != tt.left {
				t.Errorf("%d NodeJobs are left", n)
			}
		})
	}
}

// listening is a stream that tells somebody what is written.
type listening struct {
	bytes.Buffer
	heard func(string)
}

func (l *listening) Write(p []byte) (int, error) {
	n, err := l.Buffer.Write(p)
	l.heard(string(p))
	return n, err
}
