// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
)

// Mark sets or lifts the note that Orlop brought the image. It sits where a pin does, and for the same reason: a second
// pull writes the tag's record anew.
func (r *Runtime) Mark(ctx context.Context, ref oci.Ref, pulled bool) error {
	image, err := r.named(ctx, ref)
	if err != nil {
		return err
	}
	records, err := r.recordsOf(ctx, image)
	if err != nil {
		return err
	}
	if pulled {
		home := pinHome(records, image.ID, ref)
		if home == nil {
			return engine.Becausef(engine.NotFound, "%s is not on this machine", ref)
		}
		if home.Labels[labelPulled] != "" {
			return nil
		}
		return r.label(ctx, home, map[string]string{labelPulled: valuePulled})
	}
	for _, record := range records {
		if record.Labels[labelPulled] == "" {
			continue
		}
		if err := r.label(ctx, record, map[string]string{labelPulled: ""}); err != nil {
			return err
		}
	}
	return nil
}

// Marked reads the records that have the mark.
func (r *Runtime) Marked(ctx context.Context) ([]oci.Ref, error) {
	records, err := r.records(ctx, fmt.Sprintf("labels.%q==%q", labelPulled, valuePulled))
	if err != nil {
		return nil, err
	}
	var marked []oci.Ref
	for _, record := range records {
		if ref := parsed(record.Name); ref.Digest() != "" {
			marked = append(marked, ref)
		} else if ref.Tag() != "" {
			marked = append(marked, ref.WithDigest(digest.Digest(record.Target.Digest)).WithoutTag())
		}
	}
	return marked, nil
}
