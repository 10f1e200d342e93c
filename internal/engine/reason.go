// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Reason is why something did not work, one word for what each runtime says in its own. It is an error itself, so
// that errors.Is(err, engine.NotFound) asks for it.
type Reason string

// The reasons. Unsupported, InUse and NoEffect are the engine's; the rest come from registries, disks and runtimes.
const (
	NotFound            Reason = "NotFound"
	Unauthorized        Reason = "Unauthorized"
	RateLimited         Reason = "RateLimited"
	RegistryUnavailable Reason = "RegistryUnavailable"
	NoMatchingPlatform  Reason = "NoMatchingPlatform"
	SignatureRejected   Reason = "SignatureRejected"
	InsufficientDisk    Reason = "InsufficientDisk"
	Timeout             Reason = "Timeout"
	Interrupted         Reason = "Interrupted"
	InvalidReference    Reason = "InvalidReference"
	RuntimeUnavailable  Reason = "RuntimeUnavailable"
	InUse               Reason = "InUse"
	NoEffect            Reason = "NoEffect"
	Unsupported         Reason = "Unsupported"
	Unknown             Reason = "Unknown"
)

// Error makes a Reason an error of its own.
func (r Reason) Error() string { return string(r) }

// failure is an error that carries its reason without repeating it in the text.
type failure struct {
	reason Reason
	err    error
}

func (f *failure) Error() string        { return f.err.Error() }
func (f *failure) Unwrap() error        { return f.err }
func (f *failure) Is(target error) bool { return target == f.reason }

// Because gives err a reason. A nil err stays nil.
func Because(reason Reason, err error) error {
	if err == nil {
		return nil
	}
	return &failure{reason: reason, err: err}
}

// Becausef is Because with a new error.
func Becausef(reason Reason, format string, args ...any) error {
	return &failure{reason: reason, err: fmt.Errorf(format, args...)}
}

// ReasonOf is the reason that err carries, Unknown if it carries none, and empty for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	if r, ok := errors.AsType[Reason](err); ok {
		return r
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Interrupted
	}
	return Unknown
}

// names are what may be called anything, and so says nothing: paths, references, addresses.
var names = regexp.MustCompile(`\S*/\S*`)

// words are what runtimes and the registries behind them say, in the order in which they decide: a rate limit is
// often reported together with a refused login, and everything may be wrapped in "not found" by a fallback. A status
// stands alone, since a tag or a digest may contain any number.
var words = []struct {
	reason Reason
	said   *regexp.Regexp
}{
	{InsufficientDisk, regexp.MustCompile(`no space left on device|disk quota exceeded`)},
	{RateLimited, regexp.MustCompile(`(^|[ =(])429\b|toomanyrequests|too many requests|rate limit`)},
	{SignatureRejected, regexp.MustCompile(`signature ?validation ?failed|source image rejected`)},
	{NoMatchingPlatform, regexp.MustCompile(`no match for platform|no matching manifest|no image found in (manifest list|image index)`)},
	{RegistryUnavailable, regexp.MustCompile(`registryunavailable|connection re(fused|set)|no such host|io timeout|tls handshake|` +
		`network is unreachable|no route to host|unexpected eof|x509:|(^|[ =(])50[0234]\b|http response to https`)},
	{Unauthorized, regexp.MustCompile(`(^|[ =(])40[13]\b|unauthorized|authorization failed|authentication required|denied|no basic auth`)},
	{NotFound, regexp.MustCompile(`(^|[ =(])404\b|not found|(manifest|name)[ _]unknown|no such image|repository does not exist`)},
	{InUse, regexp.MustCompile(`image is in use|is being used by|is using its referenced image|image used by`)},
	{Timeout, regexp.MustCompile(`deadline exceeded|timed out`)},
	{InvalidReference, regexp.MustCompile(`invalid reference|could not parse reference|short-name`)},
}

// ReasonFromText finds the reason in a runtime's own words.
func ReasonFromText(text string) Reason {
	text = names.ReplaceAllString(strings.ReplaceAll(strings.ToLower(text), "i/o timeout", "io timeout"), " ")
	for _, w := range words {
		if w.said.MatchString(text) {
			return w.reason
		}
	}
	return Unknown
}
