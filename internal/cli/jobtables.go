// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/condition"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/tell"
)

func (v *jobView) table(o *output) *table.Table {
	switch {
	case v.job.Spec.Template != nil:
		return v.podTable()
	case v.job.Spec.Pull != nil:
		return v.pullTable(o)
	}
	return v.removalTable(o)
}

func (v *jobView) pullTable(o *output) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "STATE"}, {Name: "PULLED", Right: true}, {Name: "PRESENT", Right: true}, {Name: "FAILED", Right: true},
		{Name: "SIZE", Right: true}, {Name: "TOOK", Right: true}, {Name: "MESSAGE"}}}
	for _, row := range v.rows {
		a := row.Answer
		if a == nil {
			t.Add(row.Node, row.State, "", "", "", "", "", row.why())
			continue
		}
		size := o.size(a.Bytes)
		if p := a.Progress; p != nil && !a.State.Final() {
			size = table.Size(p.DoneBytes) + " of " + table.Size(p.TotalBytes)
		}
		t.Add(row.Node, row.State, fmt.Sprint(a.Pulled), fmt.Sprint(a.Present), fmt.Sprint(a.Failed), size, took(a.StartTime, a.CompletionTime), row.why())
	}
	return t
}

func (v *jobView) removalTable(o *output) *table.Table {
	gone, freed := "REMOVED", "FREED"
	if v.job.Spec.DryRun {
		gone, freed = "TO REMOVE", "FREES"
	}
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "STATE"}, {Name: gone, Right: true}, {Name: freed, Right: true}, {Name: "KEPT", Right: true},
		{Name: "FAILED", Right: true}, {Name: "DISK"}, {Name: "TOOK", Right: true}, {Name: "MESSAGE"}}}
	for _, row := range v.rows {
		a := row.Answer
		if a == nil {
			t.Add(row.Node, row.State, "", "", "", "", "", "", row.why())
			continue
		}
		bytes := o.size0(a.Bytes)
		if !a.DryRun {
			bytes = "?"
			if a.FreedBytes != nil {
				bytes = o.size0(*a.FreedBytes)
			}
		}
		t.Add(row.Node, row.State, fmt.Sprint(a.Removed), bytes, fmt.Sprint(a.Kept), fmt.Sprint(a.Failed), fullness(a), took(a.StartTime, a.CompletionTime), row.why())
	}
	return t
}

// fullness is how full the disk was before and after, in hundredths of a percent.
func fullness(a *v1alpha1.StoreJobStatus) string {
	switch {
	case a.DiskBefore == 0:
		return ""
	case a.DiskAfter == 0:
		return fmt.Sprintf("%.0f %%", float64(a.DiskBefore)/100)
	}
	return fmt.Sprintf("%.0f %% → %.0f %%", float64(a.DiskBefore)/100, float64(a.DiskAfter)/100)
}

func (v *jobView) podTable() *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "STATE"}, {Name: "EXIT", Right: true}, {Name: "RESTARTS", Right: true}, {Name: "TOOK", Right: true}, {Name: "POD", Wide: true}, {Name: "MESSAGE"}}}
	for _, row := range v.rows {
		exit, restarts, lasted := "", "", ""
		if o := row.Outcome; o != nil {
			restarts, lasted = fmt.Sprint(o.Restarts), took(o.StartTime, o.CompletionTime)
			if o.ExitCode != nil {
				exit = fmt.Sprint(*o.ExitCode)
			}
		}
		t.Add(row.Node, row.State, exit, restarts, lasted, row.Pod, row.why())
	}
	return t
}

// maxWhy is how much of a message a line of a table takes; -o json has all of it.
const maxWhy = 120

func (n nodeAnswer) why() string {
	text := strings.Join(strings.Fields(n.Message), " ")
	if n.Reason != "" && !strings.HasPrefix(text, n.Reason) {
		text = strings.TrimSuffix(n.Reason+": "+text, ": ")
	}
	return condition.Cut(text, maxWhy)
}

func took(from, to *metav1.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return tell.Took(to.Sub(from.Time).Round(time.Second))
}

// detailed has a line for each image on each node.
func (v *jobView) detailed(o *output) *table.Table {
	t := &table.Table{Columns: []table.Column{{Name: "NODE"}, {Name: "IMAGE"}, {Name: "STATE"}, {Name: "SIZE", Right: true}, {Name: "ID", Wide: true}, {Name: "MESSAGE"}}}
	for _, row := range v.rows {
		if row.Answer == nil || len(row.Answer.Images) == 0 {
			t.Add(row.Node, "", row.State, "", "", row.why())
			continue
		}
		for _, image := range row.Answer.Images {
			t.Add(row.Node, strings.Join(append([]string{image.Image}, others(image)...), ", "), decided(image.State, row.Answer.DryRun), o.size(image.Bytes),
				o.id(cmp.Or(image.ID, image.Digest)), nodeAnswer{Reason: reasonInTable(image), Message: image.Message}.why())
		}
	}
	return t
}

// reasonInTable leaves a reason out that only says that the image was not asked for, or that its message says already.
func reasonInTable(image v1alpha1.JobImage) string {
	if image.State == v1alpha1.JobImageFailed || image.Message == "" {
		return image.Reason
	}
	return ""
}

func others(image v1alpha1.JobImage) (names []string) {
	for _, name := range image.Names {
		if name != image.Image {
			names = append(names, name)
		}
	}
	return names
}

// decided is what became of an image; of a plan, what would.
func decided(state v1alpha1.JobImageState, dryRun bool) string {
	if dryRun {
		switch state {
		case v1alpha1.JobImageRemoved:
			return "to remove"
		case v1alpha1.JobImagePulled:
			return "to pull"
		case v1alpha1.JobImageKept:
			return "to keep"
		default: // The others are no decisions.
		}
	}
	return strings.ToLower(string(state))
}
