// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"orlop.dev/orlop/internal/engine"
)

// foreign makes Docker's error one of ours. Its text decides before its status, since Docker answers 404 and 500 for
// what a registry refused for quite other reasons.
func foreign(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case client.IsErrConnectionFailed(err), errors.Is(err, io.ErrUnexpectedEOF):
		return engine.Because(engine.RuntimeUnavailable, err)
	case engine.ReasonOf(err) != engine.Unknown:
		return err
	}
	if reason := engine.ReasonFromText(err.Error()); reason != engine.Unknown {
		return engine.Because(reason, err)
	}
	switch {
	case errdefs.IsNotFound(err):
		return engine.Because(engine.NotFound, err)
	case errdefs.IsConflict(err):
		return engine.Because(engine.InUse, err)
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		return engine.Because(engine.Unauthorized, err)
	case errdefs.IsInvalidArgument(err):
		return engine.Because(engine.InvalidReference, err)
	}
	return err
}
