// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
)

func container(id, imageID, state string) map[string]any {
	return map[string]any{"Id": id, "Names": []string{"/" + id}, "ImageID": imageID, "State": state}
}

// TestRemove has one image, and what a daemon is asked to delete of it.
func TestRemove(t *testing.T) {
	const inUseLater = "conflict: unable to delete 111 (must be forced) - image is being used by stopped container 9"
	one := []string{"docker.io/library/web:1"}
	three := []string{"docker.io/library/web:1", "docker.io/library/web:2", "r.test/other:1"}
	cases := map[string]struct {
		tags       []string // that the image has
		digests    []string
		ask        []string // that go; none: the image
		force      bool
		containers []map[string]any
		conflict   string // what deleting by id answers
		deletes    []string
		tagged     []string
		reason     engine.Reason
		says       string
	}{
		"an image of one name":         {tags: one, deletes: []string{"DELETE /images/" + webID}},
		"an image of several names":    {tags: three, deletes: []string{"DELETE /images/docker.io/library/web:1", "DELETE /images/docker.io/library/web:2", "DELETE /images/" + webID}},
		"one name of several":          {tags: three, ask: three[1:2], deletes: []string{"DELETE /images/docker.io/library/web:2"}},
		"a name that has moved away":   {tags: one, ask: []string{"docker.io/library/web:9"}},
		"the last name":                {tags: one, ask: one, deletes: []string{"DELETE /images/" + webID}},
		"all but another's digest":     {tags: one, digests: []string{"docker.io/library/web@" + otherID, "r.test/other@" + otherID}, ask: one, deletes: []string{"DELETE /images/docker.io/library/web:1"}},
		"a nameless image":             {deletes: []string{"DELETE /images/" + webID}},
		"another image is in use":      {tags: one, containers: []map[string]any{container("x", otherID, "running")}, deletes: []string{"DELETE /images/" + webID}},
		"in use":                       {tags: three, containers: []map[string]any{container("x", webID, "running")}, reason: engine.InUse, says: "in use by container x"},
		"in use by an exited one":      {tags: one, containers: []map[string]any{container("x", webID, "exited")}, reason: engine.InUse, says: "in use by container x"},
		"forced, by an exited one":     {tags: three, force: true, containers: []map[string]any{container("x", webID, "exited")}, deletes: []string{"DELETE /images/" + webID + "?force=1"}},
		"forced, by a created one":     {tags: one, force: true, containers: []map[string]any{container("x", webID, "created")}, reason: engine.InUse, says: "in use by container x"},
		"forced, by a running one too": {tags: one, force: true, containers: []map[string]any{container("x", webID, "exited"), container("y", webID, "running")}, reason: engine.InUse, says: "in use by container y"},
		"used since the look, it gets its names back": {
			tags: three, conflict: inUseLater, reason: engine.InUse, says: "stopped container 9",
			deletes: []string{"DELETE /images/docker.io/library/web:1", "DELETE /images/docker.io/library/web:2", "DELETE /images/" + webID},
			tagged:  []string{"POST /images/" + webID + "/tag?repo=docker.io%2Flibrary%2Fweb&tag=1", "POST /images/" + webID + "/tag?repo=docker.io%2Flibrary%2Fweb&tag=2"},
		},
		"parent of another": {
			tags: one, conflict: "conflict: unable to delete 111 (cannot be forced) - image has dependent child images",
			deletes: []string{"DELETE /images/" + webID}, reason: engine.InUse, says: "dependent child images",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.has(webID, c.tags...)
			d.on("GET /images/"+webID+"/json", say(map[string]any{"Id": webID, "RepoTags": c.tags, "RepoDigests": c.digests}))
			d.on("GET /containers/json", say(c.containers))
			for _, tag := range c.tags {
				d.on("DELETE /images/"+tag, say([]any{}))
			}
			d.on("DELETE /images/"+webID, say([]any{}))
			if c.conflict != "" {
				d.on("DELETE /images/"+webID, refuse(http.StatusConflict, c.conflict))
			}
			d.on("POST /images/"+webID+"/tag", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
			err := d.connect().Remove(t.Context(), engine.RemoveRequest{
				Image: engine.Image{ID: webID, Tags: refs(t, c.tags...)}, Tags: refs(t, c.ask...), Force: c.force,
			})
			if got := engine.ReasonOf(err); got != c.reason {
				t.Errorf("reason = %q, want %q (error: %v)", got, c.reason, err)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want it to say %q", err, c.says)
			}
			if diff := cmp.Diff(c.deletes, d.called("DELETE")); diff != "" {
				t.Errorf("deleted otherwise (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.tagged, d.called("POST")); diff != "" {
				t.Errorf("tagged otherwise (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRemoveOfWhatIsGone(t *testing.T) {
	d := newDaemon(t)
	if err := d.connect().Remove(t.Context(), engine.RemoveRequest{Image: engine.Image{ID: webID}}); err != nil {
		t.Error(err)
	}
}
