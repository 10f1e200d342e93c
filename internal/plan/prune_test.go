// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

func days(n int) time.Time { return now.Add(-time.Duration(n) * 24 * time.Hour) }

// aged came and was last used so many days ago; used 0 is not known.
func aged(image engine.Image, came, used int) engine.Image {
	image.FirstSeen = days(came)
	if used > 0 {
		image.LastUsed = days(used)
	}
	return image
}

func filter(terms ...string) Filter {
	f, err := ParseFilter(terms)
	if err != nil {
		panic(err)
	}
	return f
}

func TestPrune(t *testing.T) {
	const a1, a2, a3, b1, none = "docker.io/minchou/a:1", "docker.io/minchou/a:2", "docker.io/minchou/a:3", "ghcr.io/acme/b:1", "ghcr.io/acme/b@sha256:00000000000000000000000000000000000000000000000000000000000000ff"
	dangling := aged(img(5), 4, 4)
	dangling.Digests = []oci.Ref{ref(none)}
	images := []engine.Image{aged(img(1, a1), 50, 40), aged(img(2, a2), 30, 0), aged(img(3, a3), 20, 1), aged(img(4, b1), 10, 8), dangling}
	disk := Disk{Capacity: 1000, Available: 150} // 85 % full; each image is 100 bytes
	for name, tt := range map[string]struct {
		req  PruneRequest
		want []string
		stay map[string]Reason
	}{
		"everything, oldest use first": {PruneRequest{}, []string{a1, a2, b1, none, a3}, nil},
		"dangling only":                {PruneRequest{DanglingOnly: true}, []string{none}, map[string]Reason{a1: ReasonNotSelected, a2: ReasonNotSelected, a3: ReasonNotSelected, b1: ReasonNotSelected}},
		"one account":                  {PruneRequest{Match: targets("minchou/*")}, []string{a1, a2, a3}, map[string]Reason{b1: ReasonNotSelected, none: ReasonNotSelected}},
		"… with an exception":          {PruneRequest{Match: targets("minchou/*"), Keep: targets("**:2")}, []string{a1, a3}, map[string]Reason{a2: ReasonExcepted, b1: ReasonNotSelected, none: ReasonNotSelected}},
		"unused for a week":            {PruneRequest{UnusedFor: 7 * 24 * time.Hour}, []string{a1, b1}, map[string]Reason{a2: ReasonUnknown, a3: ReasonNotSelected, none: ReasonNotSelected}},
		"pulled before":                {PruneRequest{PulledBefore: days(25)}, []string{a1, a2}, map[string]Reason{a3: ReasonNotSelected, b1: ReasonNotSelected, none: ReasonNotSelected}},
		"keep the latest of each":      {PruneRequest{KeepLatest: 1}, []string{a1, a2, b1}, map[string]Reason{a3: ReasonLatest, none: ReasonLatest}},
		"keep the latest two":          {PruneRequest{KeepLatest: 2}, []string{a1}, map[string]Reason{a2: ReasonLatest, a3: ReasonLatest, b1: ReasonLatest, none: ReasonLatest}},
		"at most two":                  {PruneRequest{MaxRemovals: 2}, []string{a1, a2}, map[string]Reason{b1: ReasonLimit, none: ReasonLimit, a3: ReasonLimit}},
		"the disk is not that full":    {PruneRequest{WhenDiskAbove: 90}, []string{}, map[string]Reason{a1: ReasonDiskLevel, a2: ReasonDiskLevel, a3: ReasonDiskLevel, b1: ReasonDiskLevel, none: ReasonDiskLevel}},
		"the disk is exactly so full":  {PruneRequest{WhenDiskAbove: 85}, []string{}, map[string]Reason{a1: ReasonDiskLevel, a2: ReasonDiskLevel, a3: ReasonDiskLevel, b1: ReasonDiskLevel, none: ReasonDiskLevel}},
		"until the disk is below":      {PruneRequest{WhenDiskAbove: 80, UntilDiskBelow: 70}, []string{a1, a2}, map[string]Reason{b1: ReasonDiskLevel, none: ReasonDiskLevel, a3: ReasonDiskLevel}},
		"all of it together": {PruneRequest{Match: targets("**"), Keep: targets("**:3"), PulledBefore: days(5), KeepLatest: 1, WhenDiskAbove: 50, UntilDiskBelow: 40, MaxRemovals: 2},
			[]string{a1, a2}, map[string]Reason{a3: ReasonExcepted, b1: ReasonLimit, none: ReasonNotSelected}},
		"a filter":               {PruneRequest{Filter: filter("reference=minchou/a:1")}, []string{a1}, map[string]Reason{a2: ReasonNotSelected, a3: ReasonNotSelected, b1: ReasonNotSelected, none: ReasonNotSelected}},
		"a filter on a last use": {PruneRequest{Filter: filter("unused-for=7d", "repo=minchou/a")}, []string{a1}, map[string]Reason{a2: ReasonUnknown, a3: ReasonNotSelected, b1: ReasonNotSelected, none: ReasonNotSelected}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.req.Validate(); err != nil {
				t.Fatal(err)
			}
			p := Prune(State{Now: now, Images: images, Disk: disk}, tt.req)
			stay := tt.stay
			if stay == nil {
				stay = map[string]Reason{}
			}
			if diff := cmp.Diff(tt.want, going(p)); diff != "" {
				t.Errorf("goes: %s", diff)
			}
			if diff := cmp.Diff(stay, staying(p)); diff != "" {
				t.Errorf("stays: %s", diff)
			}
			if len(p.Remove)+len(p.Keep) != len(images) {
				t.Errorf("%d decisions for %d images", len(p.Remove)+len(p.Keep), len(images))
			}
			for _, k := range p.Keep {
				if k.Message == "" {
					t.Errorf("no words why %s stays", Title(k.Image))
				}
			}
		})
	}
}

// A plan to remove what has no name says nothing of protection that others have anyway.
func TestPruneTellsFirstWhatNobodyAskedFor(t *testing.T) {
	image := img(1, web)
	state := State{Now: now, Images: []engine.Image{image}, Uses: []engine.Use{{ImageID: image.ID, Pod: "a/b"}}}
	if got := staying(Prune(state, PruneRequest{DanglingOnly: true}))[web]; got != ReasonNotSelected {
		t.Errorf("kept for %q, want %s", got, ReasonNotSelected)
	}
	if got := staying(Prune(state, PruneRequest{}))[web]; got != ReasonInUse {
		t.Errorf("kept for %q, want %s", got, ReasonInUse)
	}
}

func TestPruneSparesWhatItCannotKnow(t *testing.T) {
	unknown := img(1, web)
	unknown.FirstSeen = time.Time{}
	state := State{Now: now, Images: []engine.Image{unknown, img(2, "ghcr.io/acme/web:2")}}
	for name, req := range map[string]PruneRequest{
		"how long unused": {UnusedFor: time.Hour},
		"when it came":    {PulledBefore: now},
		"which is latest": {KeepLatest: 1},
		"how full":        {WhenDiskAbove: 10},
		"until how full":  {UntilDiskBelow: 10},
	} {
		t.Run(name, func(t *testing.T) {
			req.Options.Force = true // Else it is spared for what may be its recent arrival.
			if got := staying(Prune(state, req))[web]; got != ReasonUnknown {
				t.Errorf("kept for %q, want %s", got, ReasonUnknown)
			}
		})
	}
}

func TestPruneRequestValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		req  PruneRequest
		says string
	}{
		"over a hundred":            {PruneRequest{WhenDiskAbove: 101}, "when-disk-above"},
		"below zero":                {PruneRequest{UntilDiskBelow: -1}, "until-disk-below"},
		"the wrong way round":       {PruneRequest{WhenDiskAbove: 60, UntilDiskBelow: 80}, "nothing would ever go"},
		"less than none":            {PruneRequest{KeepLatest: -1}, "keep-latest"},
		"fewer than none":           {PruneRequest{MaxRemovals: -1}, "max-removals"},
		"more than an object takes": {PruneRequest{KeepLatest: 1 << 32}, "keep-latest"},
		"more than any node holds":  {PruneRequest{MaxRemovals: 1 << 32}, "max-removals"},
		"back in time":              {PruneRequest{UnusedFor: -time.Hour}, "unused-for"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.req.Validate(); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Validate = %v; want it to name %s", err, tt.says)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	big := Facts{Image: aged(img(1, "docker.io/minchou/a:1"), 20, 10), Now: now}
	big.DiskBytes = 2e9
	used := Facts{Image: img(2, "ghcr.io/acme/b:1"), InUse: true, Now: now}
	fresh := Facts{Image: aged(img(3, "ghcr.io/acme/c:1"), 2, 0), Now: now}
	for name, tt := range map[string]struct {
		terms []string
		facts Facts
		want  Answer
	}{
		"no terms":                  {nil, big, Yes},
		"in use":                    {[]string{"in-use=true"}, used, Yes},
		"not in use":                {[]string{"in-use=true"}, big, No},
		"negated":                   {[]string{"in-use!=true"}, big, Yes},
		"the same key is or":        {[]string{"repo=minchou/a", "repo=ghcr.io/acme/b"}, used, Yes},
		"different keys are and":    {[]string{"repo=minchou/a", "in-use=true"}, big, No},
		"a size":                    {[]string{"size>=1GB"}, big, Yes},
		"a smaller size":            {[]string{"size<1GB"}, big, No},
		"unused for":                {[]string{"unused-for=9d"}, big, Yes},
		"used since":                {[]string{"unused-for=11d"}, big, No},
		"not here that long":        {[]string{"unused-for=7d"}, fresh, No},
		"not known":                 {[]string{"unused-for=24h"}, fresh, NotKnown},
		"not known is not else":     {[]string{"unused-for!=24h"}, fresh, NotKnown},
		"a no beats a not known":    {[]string{"unused-for=24h", "in-use=true"}, fresh, No},
		"pulled before a span":      {[]string{"pulled-before=15d"}, big, Yes},
		"pulled before a time":      {[]string{"pulled-before=2026-01-01T00:00:00Z"}, big, No},
		"an id":                     {[]string{"id=" + big.ID}, used, No},
		"a pattern with a tag":      {[]string{"reference=minchou/*:2"}, big, No},
		"a name means all its tags": {[]string{"reference=minchou/a"}, big, Yes},
	} {
		t.Run(name, func(t *testing.T) {
			f := filter(tt.terms...)
			if got := f.Match(tt.facts); got != tt.want {
				t.Errorf("%q: %v, want %v", tt.terms, got, tt.want)
			}
			raw, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			var again Filter
			if err := json.Unmarshal(raw, &again); err != nil || again.Match(tt.facts) != tt.want {
				t.Errorf("through JSON as %s it finds otherwise (%v)", raw, err)
			}
		})
	}
}

func TestParseFilterRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ term, says string }{
		"a slip":             {"danglin=true", `did you mean "dangling"?`},
		"an unknown key":     {"colour=red", "the keys are"},
		"no value":           {"dangling", "dangling=VALUE"},
		"neither":            {"pinned=maybe", "neither true nor false"},
		"not to be compared": {"repo>a", "takes = and != only"},
		"no size":            {"size>big", "500MB"},
		"no span":            {"unused-for=soon", "168h"},
		"ages":               {"unused-for=213504d", "168h"}, // 25 minutes, where days are counted in nanoseconds
		"before everything":  {"pulled-before=99999999999d", "30d"},
		"more than a disk":   {"size>99999999EB", "500MB"},
		"no time":            {"pulled-before=yesterday", "30d"},
		"no reference":       {"reference=$(x)", "not a pattern of image references"},
		"nothing":            {"", "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseFilter([]string{tt.term}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("ParseFilter(%q) = %v; want it to say %q", tt.term, err, tt.says)
			}
		})
	}
}
