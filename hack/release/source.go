// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

// source is what a release is made from.
type source struct {
	root, commit string
	// time is the commit's, and that of every file in the release.
	time time.Time
	// changed: there are changes that are not committed.
	changed bool
}

func sourceAt(ctx context.Context, root string) (source, error) {
	s := source{root: root}
	said, err := git(ctx, root, "log", "-1", "--format=%H %ct")
	if err != nil {
		return s, err
	}
	commit, seconds, _ := strings.Cut(said, " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return s, fmt.Errorf("reading the commit's time: %w", err)
	}
	s.commit, s.time = commit, time.Unix(unix, 0).UTC()
	said, err = git(ctx, root, "status", "--porcelain")
	s.changed = said != ""
	return s, err
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", root}, args...)...).Output()
	if err != nil {
		words := ""
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			words = ": " + strings.TrimSpace(string(failed.Stderr))
		}
		return "", fmt.Errorf("running git %s: %w%s", strings.Join(args, " "), err, words)
	}
	return strings.TrimSpace(string(out)), nil
}

// commitDigits make a commit known in a version.
const commitDigits = 12

// versionOf is the version that was asked for, or one that names the commit. A clone's tags are not looked at: another clone may have
// others.
func versionOf(given string, s source) (string, error) {
	if given == "" {
		given = "v0.0.0-g" + s.commit[:commitDigits]
		if s.changed {
			given += ".changed"
		}
		return given, nil
	}
	switch {
	case semver.Canonical(given) != given:
		return "", fmt.Errorf("%q is no version of a release: it must be like v0.1.0 or v0.1.0-rc.1, without +", given)
	case s.changed:
		return "", fmt.Errorf("there are changes that are not committed: what is made of them is not %s", given)
	}
	return given, nil
}
