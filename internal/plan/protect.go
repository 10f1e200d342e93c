// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// protector finds what holds an image. It is the one place where the rules of "nothing that is needed is ever
// removed" stand: plans ask it, and so does the look just before each removal.
type protector struct {
	uses  map[string][]engine.Use // by the id's hex digits
	named map[oci.Ref][]engine.Use
	needs map[oci.Ref][]Need
	short map[string][]Need // by the last part of the repository and the tag
	byID  map[string][]Need // by the beginning of the id's hex digits
	now   time.Time
}

func newProtector(s State) protector {
	p := protector{
		uses: map[string][]engine.Use{}, named: map[oci.Ref][]engine.Use{},
		needs: map[oci.Ref][]Need{}, short: map[string][]Need{}, byID: map[string][]Need{}, now: s.Now,
	}
	for _, u := range s.Uses {
		if u.ImageID != "" {
			p.uses[hexOf(u.ImageID)] = append(p.uses[hexOf(u.ImageID)], u)
		}
		if !u.Ref.IsZero() {
			p.named[key(u.Ref)] = append(p.named[key(u.Ref)], u)
		}
	}
	for _, n := range s.Needs.Items {
		p.needs[key(n.Ref)] = append(p.needs[key(n.Ref)], n)
		if n.Short != "" {
			p.short[lastPart(n.Ref)] = append(p.short[lastPart(n.Ref)], n)
		}
		if id := idNamed(n.Ref); id != "" {
			p.byID[id] = append(p.byID[id], n)
		}
	}
	return p
}

// hexOf makes ids comparable between the answers of one runtime, some of which have the algorithm's name in front.
func hexOf(id string) string { return strings.TrimPrefix(id, "sha256:") }

// key is the form under which names are compared: a digest decides alone, as it does for every runtime.
func key(r oci.Ref) oci.Ref { return r.WithoutTag() }

// lastPart is what short names are compared by: wherever an image was found for app:1, it ends so.
func lastPart(r oci.Ref) string {
	repository := r.Repository()
	return repository[strings.LastIndex(repository, "/")+1:] + ":" + r.Tag()
}

// protects gives the reason to keep the image, if there is one that o does not pass over. exact: the image was named
// exactly, so that its recent arrival is no reason.
func (p protector) protects(img engine.Image, o Options, exact bool) (Kept, bool) {
	keep := func(reason Reason, format string, args ...any) (Kept, bool) {
		return Kept{Image: img, Reason: reason, Message: fmt.Sprintf(format, args...)}, true
	}
	if img.Sandbox {
		return keep(ReasonSandbox, "the runtime starts every pod with it")
	}
	if using := p.using(img, o.Force); len(using) > 0 {
		return keep(ReasonInUse, "in use by %s", summary(using, useTitle))
	}
	pods, caches := p.needed(img)
	if len(pods) > 0 {
		return keep(ReasonNeeded, "named by pod %s", summary(pods, func(n Need) string { return n.By }))
	}
	if img.Pinned && (img.PinnedByOthers || !slices.ContainsFunc(caches, func(n Need) bool { return n.Pinned })) {
		return keep(ReasonPinned, "pinned")
	}
	if o.Force {
		return Kept{}, false
	}
	if len(caches) > 0 {
		return keep(ReasonCached, "kept by ImageCache %s", summary(caches, func(n Need) string { return n.By }))
	}
	switch {
	case exact:
		return Kept{}, false
	case img.FirstSeen.IsZero():
		return keep(ReasonRecent, "may have arrived within the last %s: the runtime does not say", duration.HumanDuration(RecentAge))
	case p.now.Sub(img.FirstSeen) < RecentAge:
		return keep(ReasonRecent, "arrived within the last %s", duration.HumanDuration(RecentAge))
	}
	return Kept{}, false
}

// using are the uses of the image, without exited containers when force passes over them.
func (p protector) using(img engine.Image, force bool) []engine.Use {
	using := slices.Clone(p.uses[hexOf(img.ID)])
	for _, name := range slices.Concat(img.Tags, img.Digests) {
		using = append(using, p.named[name]...)
	}
	return slices.DeleteFunc(using, func(u engine.Use) bool { return force && u.Exited })
}

func (p protector) needed(img engine.Image) (pods, caches []Need) {
	var all []Need
	for _, name := range slices.Concat(img.Tags, img.Digests) {
		all = append(all, slices.Concat(p.needs[name], p.short[lastPart(name)])...)
	}
	for id, named := range p.byID {
		if strings.HasPrefix(hexOf(img.ID), id) {
			all = append(all, named...)
		}
	}
	for _, n := range all {
		if n.Cache {
			caches = append(caches, n)
		} else {
			pods = append(pods, n)
		}
	}
	return pods, caches
}

// summary names the first, and counts the rest: on a busy node a hundred containers may use one image.
func summary[T any](items []T, title func(T) string) string {
	titles := []string{}
	for _, item := range items {
		titles = append(titles, title(item))
	}
	slices.Sort(titles)
	titles = slices.Compact(titles)
	if len(titles) > 1 {
		return fmt.Sprintf("%s and %d more", titles[0], len(titles)-1)
	}
	return titles[0]
}

func useTitle(u engine.Use) string {
	what := u.Container
	if u.Exited {
		what = strings.TrimSpace("exited " + what)
	}
	switch u.Kind {
	case engine.UseSandbox:
		return "the sandbox of " + u.Pod
	case engine.UseVolume:
		what = strings.TrimSpace("volume of " + what)
	case engine.UseContainer:
	}
	switch {
	case u.Pod == "":
		return "container " + what
	case what == "":
		return u.Pod
	}
	return u.Pod + " (" + what + ")"
}

// Recheck looks at one removal of a plan again, in the state of this moment. It gives the reason to leave it, if
// there is one now; gone reports that the image, or each tag that was to go, is not there any more.
func Recheck(s State, r Removal, o Options) (kept Kept, hold, gone bool) {
	at := slices.IndexFunc(s.Images, func(img engine.Image) bool { return img.ID == r.Image.ID })
	if at < 0 {
		return Kept{}, false, true
	}
	img := s.Images[at]
	if img.FirstSeen.IsZero() { // A quick look may not tell what the plan was made with.
		img.FirstSeen = r.Image.FirstSeen
	}
	if len(r.Tags) > 0 && !slices.ContainsFunc(r.Tags, func(tag oci.Ref) bool { return has(img, tag) }) {
		return Kept{}, false, true
	}
	if kept, hold = newProtector(s).protects(img, o, r.Exact); hold {
		return kept, true, false
	}
	if s.Needs.Known && s.Now.Sub(s.Needs.AsOf) > NeedsMaxAge {
		return Kept{Image: img, Reason: ReasonStaleNeeds, Message: "what pods need was last heard more than " + duration.HumanDuration(NeedsMaxAge) + " ago"}, true, false
	}
	if change := changed(img, r); change != "" {
		return Kept{Image: img, Reason: ReasonChanged, Message: change}, true, false
	}
	return Kept{}, false, false
}

// changed is what is no longer as it was when the plan was made: a name that was not in it, or that the names which
// were to stay are gone, so that the image would go with those that are to go.
func changed(img engine.Image, r Removal) string {
	left := slices.DeleteFunc(Names(img), func(name oci.Ref) bool { return slices.Contains(r.Tags, name) })
	if len(r.Tags) > 0 && len(left) == 0 {
		return "has lost its other names since the plan was made"
	}
	for _, name := range left {
		if len(r.Tags) == 0 && !has(r.Image, name) {
			return "has got the name " + name.String() + " since the plan was made"
		}
	}
	return ""
}
