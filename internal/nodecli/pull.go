// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/session"
	"orlop.dev/orlop/internal/table"
	"orlop.dev/orlop/internal/tell"
	"orlop.dev/orlop/internal/term"
)

// pullTimeout is for all images of one command together.
const pullTimeout = 30 * time.Minute

// maxCredentials bounds what is read from standard input as credentials.
const maxCredentials = 1 << 20

func pullCommand() command {
	return command{
		name: "pull", args: "IMAGE…", short: "Pull images, several at once", timeout: pullTimeout,
		long: `Examples:
  orlop-node pull nginx:1.29 redis:8
  orlop-node pull --policy Always ghcr.io/acme/web:latest
  orlop-node pull --parallel 8 -o json nginx:1.29
  echo '{"registry.example":{"username":"u","password":"p"}}' | orlop-node pull --credentials-stdin registry.example/a:1

Exit code 3: some images failed; the others are here.`,
		setup: func(flags *pflag.FlagSet) func(context.Context, *env, []string) error {
			policy := flags.String("policy", "", "Always or IfNotPresent (default: as for a Pod, Always for the tag latest)")
			parallel := flags.Int("parallel", session.DefaultParallel, "how many images to pull at once")
			stdin := flags.Bool("credentials-stdin", false, "read credentials by registry from standard input, as JSON")
			quiet := flags.BoolP("quiet", "q", false, "print only what was pulled, by digest")
			return func(ctx context.Context, e *env, args []string) error {
				req, err := pullRequest(args, *policy, *parallel)
				if err != nil {
					return err
				}
				if *stdin {
					if err := json.NewDecoder(io.LimitReader(e.In, maxCredentials)).Decode(&req.Credentials); err != nil {
						return errors.New("the credentials on standard input are not JSON of the form {\"REGISTRY\":{\"username\":…,\"password\":…}}")
					}
				}
				return e.pull(ctx, req, *quiet)
			}
		},
	}
}

func pullRequest(args []string, policy string, parallel int) (session.PullRequest, error) {
	req := session.PullRequest{Policy: session.PullPolicy(policy), Parallel: parallel}
	switch {
	case len(args) == 0:
		return req, errors.New("name at least one image, such as nginx:1.29")
	case parallel < 1:
		return req, fmt.Errorf("--parallel is a number of images, 1 or more, not %d", parallel)
	case req.Policy != "" && req.Policy != session.PullAlways && req.Policy != session.PullIfNotPresent:
		return req, fmt.Errorf("unknown policy %q: it is Always or IfNotPresent", policy)
	}
	var errs []error
	for _, arg := range args {
		ref, err := oci.Parse(arg)
		req.Images, errs = append(req.Images, ref), append(errs, err)
	}
	return req, errors.Join(errs...)
}

func (e *env) pull(ctx context.Context, req session.PullRequest, quiet bool) error {
	n, err := e.open(ctx)
	if err != nil {
		return err
	}
	show := newProgressLine(e.Streams, quiet)
	steps, err := n.Pull(ctx, req, show.hear)
	show.end()
	if err != nil {
		return err
	}
	if err := e.printPull(steps, quiet); err != nil {
		return err
	}
	return exitFor(ctx, steps)
}

func (e *env) printPull(steps []session.Step, quiet bool) error {
	switch {
	case e.structured():
		return e.print("PullResult", session.Result{Steps: steps})
	case !quiet:
		return nil // Each image was told as it was done.
	}
	for _, step := range steps {
		if step.State != session.StateFailed {
			if _, err := fmt.Fprintln(e.Out, byDigest(step)); err != nil {
				return err
			}
		}
	}
	return nil
}

// byDigest is the image that a pull brought, in the form that cannot move.
func byDigest(step session.Step) string {
	ref, err := oci.Parse(step.Asked)
	if err != nil || step.Digest == "" {
		return step.Asked
	}
	digested, err := oci.Parse(ref.Repository() + "@" + step.Digest)
	if err != nil {
		return step.Asked
	}
	return digested.String()
}

// exitFor is the end of a command whose steps have been told.
func exitFor(ctx context.Context, steps []session.Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, step := range steps {
		if step.State == session.StateFailed {
			return exitError{term.ExitPartial}
		}
	}
	return nil
}

// progressLine shows a pull on standard error: a line that is drawn over on a terminal, else only what ended.
type progressLine struct {
	streams term.Streams
	quiet   bool
	live    bool
	drawn   bool
	start   time.Time
}

func newProgressLine(streams term.Streams, quiet bool) *progressLine {
	return &progressLine{streams: streams, quiet: quiet, live: term.IsTerminal(streams.Err) && !quiet, start: time.Now()}
}

// eraseLine goes back to the first column and clears to the end, in ECMA-48.
const eraseLine = "\r\x1b[K"

func (p *progressLine) hear(m session.Message) {
	switch {
	case m.Step != nil && (!p.quiet || m.Step.State == session.StateFailed):
		p.end()
		fmt.Fprintln(p.streams.Err, tell.Step(*m.Step))
	case m.Progress != nil && p.live && m.Progress.Finished < m.Progress.Images:
		line := []rune(progressText(*m.Progress, time.Since(p.start)))
		fmt.Fprint(p.streams.Err, eraseLine+string(line[:min(len(line), term.Width(p.streams.Err, 80)-1)]))
		p.drawn = true
	}
}

// end leaves the line empty for what comes next.
func (p *progressLine) end() {
	if p.drawn {
		fmt.Fprint(p.streams.Err, eraseLine)
		p.drawn = false
	}
}

func progressText(p session.Progress, took time.Duration) string {
	text := fmt.Sprintf("%d of %d images   %s", p.Finished, p.Images, p.Phase)
	if p.Total == 0 || took <= 0 {
		return text
	}
	rate := float64(p.Done) / took.Seconds()
	text += fmt.Sprintf("   %s of %s   %s/s", table.Size(p.Done), table.Size(p.Total), table.Size(int64(rate)))
	if left := p.Total - p.Done; rate > 0 && p.Phase == engine.PhaseDownloading {
		text += "   " + (time.Duration(float64(left)/rate) * time.Second).Round(time.Second).String() + " left"
	}
	return text
}
