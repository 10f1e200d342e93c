// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"time"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/session"
)

// deed is a pull or a removal that has ended. Each leaves one line in the log, always with the same fields.
type deed struct {
	reference, digest string
	bytes             int64
	// reason is why it was done, or why it did not work.
	reason string
	actors []string
	// requestedBy is who made the job, as far as that is known.
	requestedBy string
	took        time.Duration
	// names are those that went with a removed image.
	names []string
	err   string
}

// Why pulls and removals are done.
const (
	reasonMissing  = "missing"   // it was not there
	reasonMoved    = "moved"     // another image had its name
	reasonRecheck  = "recheck"   // the registry refuses the controller, and a node is to look what the name stands for
	reasonReleased = "released"  // no cache wants it any more
	reasonAskedFor = "asked for" // by the NodeJob
	reasonPruned   = "pruned"
)

// The kinds of actors.
const (
	actorCache = "ImageCache "
	actorJob   = "NodeJob "
)

// log writes the line: to is Info or Warn of the agent's logger.
func (d deed) log(to func(string, ...any), node, what string) {
	fields := []any{
		slog.String("node", node), slog.String("reference", d.reference), slog.String("digest", d.digest), slog.Int64("bytes", d.bytes),
		slog.String("reason", d.reason), slog.Any("actor", d.actors), slog.String("duration", d.took.Round(time.Millisecond).String()),
	}
	for _, more := range []slog.Attr{slog.String("requestedBy", d.requestedBy), slog.String("names", strings.Join(d.names, " ")), slog.String("error", d.err)} {
		if more.Value.String() != "" {
			fields = append(fields, more)
		}
	}
	to(what, fields...)
}

// deedOf is a cache's pull.
func (p *pull) deedOf(took time.Duration) deed {
	d := deed{reference: nameOf(p.want), digest: string(p.want.Digest()), reason: p.why, took: took}
	for _, cache := range p.entry.Caches {
		d.actors = append(d.actors, actorCache+cache)
	}
	return d
}

// deedOf is something done for a job.
func (t *task) deedOf() deed {
	return deed{reason: reasonAskedFor, actors: []string{actorJob + t.entry.Job}, requestedBy: t.entry.RequestedBy}
}

// nameOf is what people call the image: by its tag if it has one.
func nameOf(ref oci.Ref) string {
	if ref.Tag() != "" {
		ref = ref.WithoutDigest()
	}
	return ref.String()
}

// pulled logs and counts a pull that brought its image.
func (a *Agent) pulled(d deed, registry string, img engine.Image) {
	d.bytes = img.PullBytes
	a.cfg.Metrics.pulled(registry, "", img.PullBytes, d.took)
	d.log(a.cfg.Log.Info, a.cfg.Node, "pulled")
}

// notPulled is pulled for one that failed.
func (a *Agent) notPulled(d deed, registry string, err error) {
	d.reason, d.err = string(engine.ReasonOf(err)), err.Error()
	a.cfg.Metrics.pulled(registry, d.reason, 0, d.took)
	d.log(a.cfg.Log.Warn, a.cfg.Node, "pull failed")
}

// gaveUp logs a pull that was ended for a reason that is not its image's, and counts as neither.
func (a *Agent) gaveUp(d deed, why string, err error) {
	d.reason = why
	if err != nil {
		d.err = err.Error()
	}
	d.log(a.cfg.Log.Info, a.cfg.Node, "pull given up")
}

// removedFor logs and counts a removal, whatever became of it; that of an image which was not there any more is none.
func (a *Agent) removedFor(trigger string, d deed, step *session.Step) {
	d.took = step.Took()
	switch step.State {
	case session.StateRemoved:
		d.bytes, d.names = step.Bytes, step.Names
		a.cfg.Metrics.removed(trigger, resultOK, step.Bytes)
		d.log(a.cfg.Log.Info, a.cfg.Node, "removed")
	case session.StateFailed:
		d.reason, d.err = step.Reason, step.Message
		a.cfg.Metrics.removed(trigger, step.Reason, 0)
		d.log(a.cfg.Log.Warn, a.cfg.Node, "removal failed")
	default: // It stays, or had gone.
	}
}

// digestOf is the digest of an image that may have several, or none.
func digestOf(img *engine.Image) string {
	if len(img.Digests) == 0 {
		return ""
	}
	return string(img.Digests[0].Digest())
}

// deedOf is the removal of one image, under whichever names it was let go.
func (a *Agent) deedOf(released []candidate) deed {
	first := released[0]
	d := deed{reference: nameOf(first.want), digest: cmp.Or(string(first.want.Digest()), digestOf(&first.img)), reason: reasonReleased}
	for _, c := range released {
		for _, cache := range a.actor(c.image) {
			if !slices.Contains(d.actors, actorCache+cache) {
				d.actors = append(d.actors, actorCache+cache)
			}
		}
	}
	return d
}
