// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"time"

	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/term"
)

// await waits until the controller and every agent are ready.
func (o *statusOptions) await(ctx context.Context, op *operator.Client, now installStatus) (installStatus, int, error) {
	deadline := time.NewTimer(o.timeout)
	defer deadline.Stop()
	l := &liveLine{to: o.Err, begun: time.Now()}
	if term.IsTerminal(o.Err) {
		l.width = term.Width(o.Err, 80)
		l.start()
	}
	defer l.close()
	for !now.ready() {
		if now.gaveUp = now.hopeless(); now.gaveUp != "" && (len(now.Hidden) > 0 || time.Since(l.begun) >= emptyPatience) {
			return now, term.ExitPartial, nil
		}
		l.show(fmt.Sprintf("controller %d/%d, agents %d/%d ready", now.Controller.Ready, now.Controller.Desired, now.Agents.Ready, now.Agents.Desired))
		select {
		case <-time.After(time.Second):
		case <-deadline.C:
			now.gaveUp = "not ready after " + o.timeout.String()
			return now, term.ExitTimeout, nil
		case <-ctx.Done():
			return now, 0, ctx.Err()
		}
		var err error
		if now, err = o.gather(ctx, op); err != nil {
			return now, 0, err
		}
	}
	return now, term.ExitOK, nil
}

// emptyPatience is how long an install may be without a part that is to become ready: it may be coming at this moment.
const emptyPatience = 10 * time.Second

// hopeless is why waiting has no end; empty: it may have one.
func (s installStatus) hopeless() string {
	switch {
	case len(s.Hidden) > 0:
		return "you have no permission to see whether it is ready"
	case s.Controller.Desired == 0:
		return "no controller is going to start: its Deployment is missing, or scaled to 0. Apply the manifests again, or scale it up: kubectl -n " + s.Namespace + " scale deployment/orlop-controller --replicas 1"
	case s.noAgentSet:
		return "no agent is going to start: there is no DaemonSet for them in " + s.Namespace + ". Apply the manifests again"
	case s.Agents.Desired == 0:
		return "no agent is going to start: the DaemonSet matches no node. See its nodeSelector: kubectl -n " + s.Namespace + " describe daemonset -l app.kubernetes.io/component=agent"
	}
	return ""
}

func (s installStatus) ready() bool {
	return s.Controller.Ready > 0 && s.Agents.Desired > 0 && s.Agents.Ready >= s.Agents.Desired
}
