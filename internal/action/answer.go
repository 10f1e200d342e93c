// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/plan"
	"orlop.dev/orlop/internal/session"
)

// The bounds of one decision in an answer, as the schema has them.
const (
	MaxNames   = 32
	maxMessage = 256
)

// Planned are the decisions of a plan, one for each image.
func Planned(p plan.Plan) []v1alpha1.JobImage {
	images := make([]v1alpha1.JobImage, 0, len(p.Remove)+len(p.Keep)+len(p.Absent))
	for _, name := range p.Absent {
		images = append(images, v1alpha1.JobImage{Image: name, State: v1alpha1.JobImageAbsent})
	}
	for i := range p.Remove {
		r := &p.Remove[i]
		images = append(images, v1alpha1.JobImage{
			Image: title(r), State: v1alpha1.JobImageRemoved, ID: r.Image.ID, Names: named(r.Names(), title(r)),
			Partly: len(r.Tags) > 0, Bytes: r.FreesBytes,
		})
	}
	for _, k := range p.Keep {
		images = append(images, v1alpha1.JobImage{
			Image: plan.Title(k.Image), State: v1alpha1.JobImageKept, ID: k.Image.ID, Reason: string(k.Reason), Message: cut(k.Message),
		})
	}
	return images
}

// title is the name under which a removal is shown: of an image that stays under other names, one that goes.
func title(r *plan.Removal) string {
	if len(r.Tags) > 0 {
		return r.Tags[0].String()
	}
	return plan.Title(r.Image)
}

// Done are what became of the images: of those in the plan that nothing was tried on, the decision stands.
func Done(p plan.Plan, steps []session.Step) []v1alpha1.JobImage {
	partly := map[string]*plan.Removal{}
	for i := range p.Remove {
		if r := &p.Remove[i]; len(r.Tags) > 0 {
			partly[r.Image.ID] = r
		}
	}
	told := map[string]bool{}
	var images []v1alpha1.JobImage
	for i := range steps {
		image := Step(&steps[i])
		if r := partly[image.ID]; r != nil && image.State == v1alpha1.JobImageRemoved {
			image.Image, image.Names, image.Partly = title(r), named(steps[i].Names, title(r)), true
		}
		images = append(images, image)
		told[steps[i].ID] = true
	}
	for _, k := range p.Keep {
		if !told[k.Image.ID] {
			images = append(images, v1alpha1.JobImage{
				Image: plan.Title(k.Image), State: v1alpha1.JobImageKept, ID: k.Image.ID, Reason: string(k.Reason), Message: cut(k.Message),
			})
		}
	}
	return images
}

// Step is what became of one image, as an answer has it.
func Step(s *session.Step) v1alpha1.JobImage {
	image := v1alpha1.JobImage{
		Image: s.Asked, State: v1alpha1.JobImageState(s.State), ID: s.ID, Digest: s.Digest, Bytes: s.Bytes, Reason: s.Reason, Message: cut(s.Message),
	}
	if s.State == session.StateRemoved {
		image.Names = named(s.Names, s.Asked)
	}
	return image
}

// named leaves out the name under which the image is shown, if that is the only one.
func named(names []string, title string) []string {
	if len(names) == 1 && names[0] == title {
		return nil
	}
	return names[:min(len(names), MaxNames)]
}

func cut(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage-len("…")], "") + "…"
}

// Steps are an answer's decisions as a node's own words.
func Steps(images []v1alpha1.JobImage) []session.Step {
	steps := make([]session.Step, 0, len(images))
	for i := range images {
		image := &images[i]
		if image.Reason == string(plan.ReasonNotSelected) {
			continue
		}
		steps = append(steps, session.Step{
			Asked: image.Image, State: session.State(image.State), ID: image.ID, Names: names(image), Digest: image.Digest, Bytes: image.Bytes,
			Reason: image.Reason, Message: image.Message,
		})
	}
	return steps
}

func names(image *v1alpha1.JobImage) []string {
	if len(image.Names) == 0 && image.State == v1alpha1.JobImageRemoved {
		return []string{image.Image}
	}
	return image.Names
}

// PlanOf is the plan that a dry run's answer tells of. Of each image it has what is shown to people.
func PlanOf(answer *v1alpha1.StoreJobStatus) plan.Plan {
	p := plan.Plan{Remove: []plan.Removal{}, Keep: []plan.Kept{}, NeedsKnown: true, Shared: true, FreesBytes: answer.Bytes}
	for i := range answer.Images {
		image := &answer.Images[i]
		switch image.State {
		case v1alpha1.JobImageAbsent:
			p.Absent = append(p.Absent, image.Image)
		case v1alpha1.JobImageRemoved:
			refs := refs(names(image))
			r := plan.Removal{Image: engine.Image{ID: image.ID, Tags: refs}, FreesBytes: image.Bytes}
			if image.Partly {
				r.Tags = refs
			}
			p.Remove = append(p.Remove, r)
		case v1alpha1.JobImageKept:
			p.Keep = append(p.Keep, plan.Kept{
				Image: engine.Image{ID: image.ID, Tags: refs([]string{image.Image})}, Reason: plan.Reason(image.Reason), Message: image.Message,
			})
		default: // Nothing else is planned.
		}
	}
	return p
}

// refs leaves out what is no name but an id.
func refs(names []string) []oci.Ref {
	var all []oci.Ref
	for _, name := range names {
		if ref, err := oci.ParseFound(name); err == nil && !strings.HasPrefix(name, "sha256:") {
			all = append(all, ref)
		}
	}
	return all
}
