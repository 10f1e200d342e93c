// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/test/e2e/stage"
	"orlop.dev/orlop/test/lab"
)

// nodeImages is orlop-node list -o json.
type nodeImages struct {
	Images []struct {
		ID        string    `json:"id"`
		Tags      []string  `json:"tags"`
		Digests   []string  `json:"digests"`
		PullBytes int64     `json:"pullBytes"`
		DiskBytes int64     `json:"diskBytes"`
		Pinned    bool      `json:"pinned"`
		FirstSeen time.Time `json:"firstSeen"`
	} `json:"images"`
}

// removal is orlop-node rm or prune -o json, of a plan or of a result.
type removal struct {
	Remove []struct {
		Image struct {
			ID   string   `json:"id"`
			Tags []string `json:"tags"`
		} `json:"image"`
	} `json:"remove"`
	Keep []struct {
		Image struct {
			Tags []string `json:"tags"`
		} `json:"image"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"keep"`
	Steps []struct {
		Asked   string   `json:"asked"`
		State   string   `json:"state"`
		Names   []string `json:"names"`
		Reason  string   `json:"reason"`
		Message string   `json:"message"`
	} `json:"steps"`
	FreedBytes int64 `json:"freedBytes"`
}

func TestNodeListIsWhatCrictlSays(t *testing.T) {
	const node = "node1"
	emptied(t, node, "docker.io/listed/")
	push(t, "docker.io/listed/a:1", "docker.io/listed/a:2", "docker.io/listed/b:1")
	same := lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10, Shared: "listed"}}}
	pushSpec(t, "docker.io/listed/two:1", same)
	pushSpec(t, "docker.io/listed/two:2", same)
	orlopNode(t, node, "pull", "listed/a:1", "listed/a:2", "listed/b:1", "listed/two:1", "listed/two:2").Want(t, 0)
	orlopNode(t, node, "pin", "listed/b:1").Want(t, 0)

	var ours nodeImages
	orlopNode(t, node, "list", "-o", "json").Want(t, 0).Decode(t, &ours)
	got, want := []stage.Image{}, crictlImages(t, node)
	for _, img := range ours.Images {
		got = append(got, stage.Image{ID: img.ID, RepoTags: img.Tags, RepoDigests: img.Digests, Size: strconv.FormatInt(img.PullBytes, 10), Pinned: img.Pinned})
		if img.DiskBytes <= img.PullBytes {
			t.Errorf("%s takes %d bytes on disk, and %d to pull", img.Tags, img.DiskBytes, img.PullBytes)
		}
		if img.FirstSeen.IsZero() || time.Since(img.FirstSeen) > time.Hour {
			t.Errorf("%s came at %s", img.Tags, img.FirstSeen)
		}
	}
	for _, list := range [][]stage.Image{got, want} {
		slices.SortFunc(list, func(a, b stage.Image) int { return strings.Compare(a.ID, b.ID) })
		for i := range list {
			slices.Sort(list[i].RepoTags)
			slices.Sort(list[i].RepoDigests)
		}
	}
	if diff := cmp.Diff(want, got, equateEmpty); diff != "" {
		t.Errorf("crictl and orlop-node differ: %s", diff)
	}
	if !slices.ContainsFunc(want, func(img stage.Image) bool { return img.Pinned && slices.Contains(img.RepoTags, "docker.io/listed/b:1") }) {
		t.Error("crictl does not see the pin")
	}
	if !slices.ContainsFunc(want, func(img stage.Image) bool { return len(img.RepoTags) == 2 }) {
		t.Error("no image has two names: the test did not try what it should")
	}
}

var equateEmpty = cmp.FilterValues(func(a, b []string) bool { return len(a)+len(b) == 0 }, cmp.Ignore())

func TestNodeRemovesOneTagOfTwo(t *testing.T) {
	const node = "node1"
	emptied(t, node, "docker.io/twotags/")
	spec := lab.ImageSpec{Layers: []lab.Layer{{Size: 100 << 10, Shared: "twotags"}}}
	if pushSpec(t, "docker.io/twotags/a:1", spec) != pushSpec(t, "docker.io/twotags/b:1", spec) {
		t.Fatal("these are two images, and not one with two names")
	}
	orlopNode(t, node, "pull", "twotags/a:1", "twotags/b:1").Want(t, 0)

	orlopNode(t, node, "rm", "--yes", "twotags/a:1").Want(t, 0)
	if hasTag(t, node, "docker.io/twotags/a:1") || !hasTag(t, node, "docker.io/twotags/b:1") {
		t.Errorf("tags are now %v", tags(t, node))
	}
	orlopNode(t, node, "rm", "--yes", "twotags/b:1").Want(t, 0)
	if hasTag(t, node, "docker.io/twotags/b:1") {
		t.Errorf("tags are now %v", tags(t, node))
	}
	if got := orlopNode(t, node, "rm", "--yes", "twotags/b:1").Want(t, 0); !strings.Contains(got.Err, "is not on this machine") {
		t.Errorf("removing what is gone: %s", got)
	}
}

// Containers are made by the real kubelet: one runs, one has ended, one was created and cannot start, one mounts an
// image as a volume, and one pod waits with its image pulled for a secret that never comes.
func TestNodeSparesWhatContainersUse(t *testing.T) {
	const node = "node2"
	emptied(t, node, "docker.io/used/")
	push(t, "docker.io/used/running:1", "docker.io/used/exited:1", "docker.io/used/volume:1", "docker.io/used/free:1")
	apply(t, pods(node, map[string]string{
		"running": "containers: [{name: c, image: used/running:1}]",
		"exited":  "{restartPolicy: Never, containers: [{name: c, image: used/exited:1, args: [exit, '0']}]}",
		"volume":  "{containers: [{name: c, image: used/running:1, volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, image: {reference: used/volume:1}}]}",
	}))
	awaitPod(t, "running", "Running")
	awaitPod(t, "exited", "Succeeded")
	awaitPod(t, "volume", "Running")
	orlopNode(t, node, "pull", "used/free:1").Want(t, 0)

	var got removal
	orlopNode(t, node, "rm", "--yes", "-o", "json", "docker.io/used/*").Want(t, 0).Decode(t, &got)
	reasons := map[string]string{}
	for _, step := range got.Steps {
		reasons[step.Asked] = step.Reason + ": " + step.Message
	}
	for image, want := range map[string]string{
		"docker.io/used/running:1": "InUse: in use by default/running (c)",
		"docker.io/used/exited:1":  "InUse: in use by default/exited (exited c)",
		"docker.io/used/volume:1":  "InUse: in use by default/volume (volume of c)",
		"docker.io/used/free:1":    "Recent: ",
	} {
		if !strings.HasPrefix(reasons[image], want) {
			t.Errorf("%s: %q, want %q", image, reasons[image], want)
		}
		if !hasTag(t, node, image) {
			t.Errorf("%s is gone", image)
		}
	}

	orlopNode(t, node, "rm", "--yes", "--force", "docker.io/used/*").Want(t, 0)
	for image, stays := range map[string]bool{"docker.io/used/running:1": true, "docker.io/used/volume:1": true,
		"docker.io/used/exited:1": false, "docker.io/used/free:1": false} {
		if hasTag(t, node, image) != stays {
			t.Errorf("after --force, %s is there: %v", image, !stays)
		}
	}
}

func TestNodeSparesACreatedContainer(t *testing.T) {
	const node = "node2"
	emptied(t, node, "docker.io/created/")
	push(t, "docker.io/created/a:1")
	c := theCluster(t)
	orlopNode(t, node, "pull", "created/a:1").Want(t, 0)
	sandbox, container := createdContainer(t, c, node, "docker.io/created/a:1")
	defer func() {
		for _, args := range [][]string{{"rm", "-f", container}, {"rmp", "-f", sandbox}} {
			if _, err := c.Crictl(t.Context(), node, args...); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, force := range []string{"--force=false", "--force"} {
		got := orlopNode(t, node, "rm", "--yes", force, "created/a:1").Want(t, 0)
		if !strings.Contains(got.Err, "in use by") || !hasTag(t, node, "docker.io/created/a:1") {
			t.Errorf("%s: %s", force, got)
		}
	}
}

func TestNodeNeverTouchesThePauseImage(t *testing.T) {
	const node = "node3"
	var pause string
	apply(t, pods(node, map[string]string{"any": "containers: [{name: c, image: docker.io/pausetest/a:1}]"}))
	emptied(t, node, "docker.io/pausetest/")
	push(t, "docker.io/pausetest/a:1")
	awaitPod(t, "any", "Running")
	for _, img := range crictlImages(t, node) {
		if img.Pinned && slices.ContainsFunc(img.RepoTags, func(tag string) bool { return strings.Contains(tag, "/pause:") }) {
			pause = img.RepoTags[0]
		}
	}
	if pause == "" {
		t.Fatalf("no pause image among %v", tags(t, node))
	}
	for _, args := range [][]string{{"rm", "--yes", "--force", pause}, {"rm", "--yes", "--force", "**"}, {"prune", "--yes", "--force", "--all"}} {
		orlopNode(t, node, args...).Want(t, 0)
		if !hasTag(t, node, pause) {
			t.Fatalf("orlop-node %v took %s", args, pause)
		}
	}
}

func TestNodePruneDoesWhatItsDryRunSaid(t *testing.T) {
	const node = "node3"
	emptied(t, node, "docker.io/pruned/")
	var images []string
	for i := range 8 {
		images = append(images, fmt.Sprintf("docker.io/pruned/a%d:1", i))
	}
	push(t, images...)
	orlopNode(t, node, append([]string{"pull"}, images...)...).Want(t, 0)
	apply(t, pods(node, map[string]string{"pruner": "containers: [{name: c, image: docker.io/pruned/a3:1}]"}))
	awaitPod(t, "pruner", "Running")

	flags := []string{"--match", "docker.io/pruned/*", "--keep", "**/a5:*", "--max-removals", "4", "--force", "-o", "json"}
	var planned, done removal
	orlopNode(t, node, append([]string{"prune", "--dry-run"}, flags...)...).Want(t, 0).Decode(t, &planned)
	before := tags(t, node)
	orlopNode(t, node, append([]string{"prune", "--yes"}, flags...)...).Want(t, 0).Decode(t, &done)
	after := tags(t, node)

	var want, removed, vanished []string
	for _, r := range planned.Remove {
		want = append(want, r.Image.Tags...)
	}
	for _, step := range done.Steps {
		if step.State == "Removed" {
			removed = append(removed, step.Names...)
		}
	}
	for _, tag := range before {
		if !slices.Contains(after, tag) {
			vanished = append(vanished, tag)
		}
	}
	for _, list := range [][]string{want, removed, vanished} {
		slices.Sort(list)
	}
	if diff := cmp.Diff(want, removed); diff != "" || len(want) != 4 {
		t.Errorf("planned and removed differ: %s", diff)
	}
	if diff := cmp.Diff(removed, vanished); diff != "" {
		t.Errorf("what it says and what crictl sees differ: %s", diff)
	}
	for _, stays := range []string{"docker.io/pruned/a3:1", "docker.io/pruned/a5:1"} {
		if !slices.Contains(after, stays) {
			t.Errorf("%s is gone", stays)
		}
	}
	if done.FreedBytes < 4*100<<10 {
		t.Errorf("%d bytes freed by four images of 100 KiB", done.FreedBytes)
	}
}

func TestNodePinSurvivesASecondPull(t *testing.T) {
	const node = "node1"
	emptied(t, node, "docker.io/pinned/")
	push(t, "docker.io/pinned/a:1")
	orlopNode(t, node, "pull", "pinned/a:1").Want(t, 0)
	orlopNode(t, node, "pin", "pinned/a:1").Want(t, 0)
	if _, err := theCluster(t).Crictl(t.Context(), node, "pull", "docker.io/pinned/a:1"); err != nil {
		t.Fatal(err)
	}
	if got := orlopNode(t, node, "rm", "--yes", "--force", "pinned/a:1").Want(t, 0); !strings.Contains(got.Err, "Pinned") {
		t.Errorf("rm of a pinned image: %s", got)
	}
	orlopNode(t, node, "unpin", "pinned/a:1").Want(t, 0)
	orlopNode(t, node, "rm", "--yes", "pinned/a:1").Want(t, 0)
	if hasTag(t, node, "docker.io/pinned/a:1") {
		t.Error("it is still there after unpin and rm")
	}
}

func TestNodeSaysWhyAPullFailed(t *testing.T) {
	c := theCluster(t)
	push(t, "docker.io/faulty/limited:1", "docker.io/faulty/down:1")
	for image, status := range map[string]int{"docker.io/faulty/limited": 429, "docker.io/faulty/down": 503} {
		if err := c.AddFault(t.Context(), lab.Fault{Images: image, Status: status}); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if err := c.ClearFaults(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for image, reason := range map[string]string{
		"docker.io/faulty/nothing:1": "NotFound",
		"docker.io/faulty/limited:1": "RateLimited",
		"docker.io/faulty/down:1":    "RegistryUnavailable",
		lab.PrivateHost + "/a:1":     "Unauthorized",
	} {
		t.Run(reason, func(t *testing.T) {
			begun := time.Now()
			var got removal
			orlopNode(t, "node1", "pull", "-o", "json", image).Want(t, 3).Decode(t, &got)
			if len(got.Steps) != 1 || got.Steps[0].Reason != reason || len(got.Steps[0].Message) < 20 {
				t.Errorf("steps: %+v", got.Steps)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s to say so", took)
			}
		})
	}
}

func TestNodePullsFromAPrivateRegistry(t *testing.T) {
	const image = lab.PrivateHost + "/team/a:1"
	emptied(t, "node1", lab.PrivateHost)
	push(t, image)
	cmd, err := theCluster(t).Command(t.Context(), "node1", "/usr/local/bin/orlop-node", "pull", "--credentials-stdin", image)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{%q: {"username": %q, "password": %q}}`, lab.PrivateHost, lab.PrivateUser, lab.PrivatePassword))
	stage.Run(t, cmd).Want(t, 0)
	if !hasTag(t, "node1", image) {
		t.Errorf("tags are %v", tags(t, "node1"))
	}
}

func TestNodeRefusesNonsense(t *testing.T) {
	emptied(t, "node1", "docker.io/nonsense/")
	push(t, "docker.io/nonsense/a:1")
	orlopNode(t, "node1", "pull", "nonsense/a:1").Want(t, 0)
	before := tags(t, "node1")
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no image":              {[]string{"pull"}, "name at least one image"},
		"an empty image":        {[]string{"pull", ""}, "empty image reference"},
		"upper case":            {[]string{"pull", "Nginx"}, "lower-case"},
		"a shell's characters":  {[]string{"rm", "--yes", "nginx;reboot"}, "not an image reference"},
		"five thousand letters": {[]string{"pull", strings.Repeat("a", 5000)}, "5000 characters"},
		"one bad among good":    {[]string{"rm", "--yes", "nginx", "$(id)"}, "$(id)"},
		"an unknown flag":       {[]string{"prune", "--dryrun"}, `did you mean "dry-run"?`},
		"an unknown command":    {[]string{"purne"}, `did you mean "prune"?`},
		"an unknown filter":     {[]string{"list", "--filter", "danling=true"}, `did you mean "dangling"?`},
		"an unknown format":     {[]string{"list", "-o", "jsn"}, `did you mean "json"?`},
		"no yes and no one":     {[]string{"rm", "--force", "**"}, "--yes"},
		"no such socket":        {[]string{"list", "-r", "unix:///run/nowhere.sock"}, "/run/nowhere.sock"},
		"no socket":             {[]string{"list", "-r", "unix:///etc/hostname"}, "/etc/hostname"},
	} {
		t.Run(name, func(t *testing.T) {
			got := orlopNode(t, "node1", tt.args...)
			if got.Code != 1 || !strings.Contains(got.Err, tt.says) {
				t.Errorf("want exit code 1 and %q\n%s", tt.says, got)
			}
			if got.Out != "" {
				t.Errorf("an answer on standard output: %s", got.Out)
			}
		})
	}
	if diff := cmp.Diff(before, tags(t, "node1")); diff != "" {
		t.Errorf("images changed: %s", diff)
	}
}
