// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"orlop.dev/orlop/internal/engine"
	"orlop.dev/orlop/internal/oci"
	"orlop.dev/orlop/internal/suggest"
)

// Filter chooses images. Terms with the same key are alternatives, different keys must all fit, != excludes.
// Its zero value fits every image.
type Filter struct {
	terms []term
}

type term struct {
	text string // as typed
	key  string
	op   string
	fits func(Facts) Answer
}

// Facts are what a filter may ask of an image.
type Facts struct {
	engine.Image
	InUse bool
	Now   time.Time
}

// Answer is what a filter finds. An image whose age is asked for and not known is neither in nor out.
type Answer int

// The answers.
const (
	No Answer = iota
	Yes
	NotKnown
)

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// operators, the longer ones first, so that >= is not read as > with an odd value.
var operators = []string{"!=", ">=", "<=", "=", ">", "<"}

// parsers make the test for a key from its value, for the key's own equality; size alone can be compared.
var parsers = map[string]func(op, value string) (func(Facts) Answer, error){
	"reference":     parseReference,
	"repo":          parseReference,
	"id":            parseID,
	"dangling":      boolParser(func(f Facts) bool { return len(f.Tags) == 0 }),
	"in-use":        boolParser(func(f Facts) bool { return f.InUse }),
	"pinned":        boolParser(func(f Facts) bool { return f.Pinned }),
	"unused-for":    parseUnusedFor,
	"pulled-before": parsePulledBefore,
	"size":          parseSize,
}

// FilterKeys are the keys of a filter, sorted.
func FilterKeys() []string { return slices.Sorted(maps.Keys(parsers)) }

// ParseFilter reads terms such as dangling=true, reference=docker.io/minchou/*, size>=1GB, unused-for=168h,
// pulled-before=720h, in-use!=true.
func ParseFilter(terms []string) (Filter, error) {
	var f Filter
	for _, text := range terms {
		t, err := parseTerm(text)
		if err != nil {
			return Filter{}, fmt.Errorf("filter %q: %w", text, err)
		}
		f.terms = append(f.terms, t)
	}
	return f, nil
}

func parseTerm(text string) (term, error) {
	at, op := len(text), ""
	for _, o := range operators {
		if i := strings.Index(text, o); i >= 0 && i < at {
			at, op = i, o
		}
	}
	key := text[:at]
	parse, ok := parsers[key]
	switch {
	case !ok:
		return term{}, fmt.Errorf("unknown key %q%s; the keys are %s", key, suggest.DidYouMean(key, FilterKeys()), strings.Join(FilterKeys(), ", "))
	case op == "":
		return term{}, fmt.Errorf("write it as %s=VALUE", key)
	case key != "size" && op != "=" && op != "!=":
		return term{}, fmt.Errorf("%s takes = and != only", key)
	}
	fits, err := parse(op, text[at+len(op):])
	return term{text: text, key: key, op: op, fits: fits}, err
}

func parseReference(_, value string) (func(Facts) Answer, error) {
	// As it does in docker images NAME.
	target, err := oci.ParseTarget(oci.AllTags(value))
	return func(f Facts) Answer { return answer(len(namesMeant(target, f.Image)) > 0) }, err
}

func parseID(_, value string) (func(Facts) Answer, error) {
	target, err := oci.ParseTarget("sha256:" + strings.TrimPrefix(value, "sha256:"))
	return func(f Facts) Answer { return answer(target.MatchID(f.ID, nil)) }, err
}

func boolParser(get func(Facts) bool) func(op, value string) (func(Facts) Answer, error) {
	return func(_, value string) (func(Facts) Answer, error) {
		want, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", value)
		}
		return func(f Facts) Answer { return answer(get(f) == want) }, nil
	}
}

func parseUnusedFor(_, value string) (func(Facts) Answer, error) {
	span, err := ParseSpan(value)
	return func(f Facts) Answer { return unusedFor(f, span) }, err
}

func unusedFor(f Facts, span time.Duration) Answer {
	switch {
	case f.InUse, f.Now.Sub(f.FirstSeen) < span: // It cannot have been unused for longer than it is here.
		return No
	case f.LastUsed.IsZero():
		return NotKnown
	}
	return answer(f.Now.Sub(f.LastUsed) >= span)
}

func parsePulledBefore(_, value string) (func(Facts) Answer, error) {
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		return func(f Facts) Answer { return pulledBefore(f, at) }, nil
	}
	span, err := ParseSpan(value)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a time such as 2026-11-01T00:00:00Z nor a time span such as 720h or 30d", value)
	}
	return func(f Facts) Answer { return pulledBefore(f, f.Now.Add(-span)) }, nil
}

func pulledBefore(f Facts, at time.Time) Answer {
	if f.FirstSeen.IsZero() {
		return NotKnown
	}
	return answer(f.FirstSeen.Before(at))
}

const day = 24 * time.Hour

// ParseSpan reads a time span as time.ParseDuration does, and days too: 168h, 7d, 90m.
func ParseSpan(value string) (time.Duration, error) {
	span, err := time.ParseDuration(value)
	if days, ok := strings.CutSuffix(value, "d"); ok {
		var n int64
		n, err = strconv.ParseInt(days, 10, 64)
		if span = time.Duration(n) * day; span/day != time.Duration(n) { // It is more than fits: some other span by now.
			err = strconv.ErrRange
		}
	}
	if err != nil || span < 0 {
		return 0, fmt.Errorf("%q is not a time span such as 168h, 7d or 90m", value)
	}
	return span, nil
}

func parseSize(op, value string) (func(Facts) Answer, error) {
	bytes, err := units.FromHumanSize(value)
	if err != nil || bytes < 0 { // Below zero is what does not fit.
		return nil, fmt.Errorf("%q is not a size such as 500MB or 1GB", value)
	}
	compare := map[string]func(int64) bool{
		"=": func(n int64) bool { return n == bytes }, "!=": func(n int64) bool { return n == bytes },
		">": func(n int64) bool { return n > bytes }, ">=": func(n int64) bool { return n >= bytes },
		"<": func(n int64) bool { return n < bytes }, "<=": func(n int64) bool { return n <= bytes },
	}[op]
	return func(f Facts) Answer { return answer(compare(Size(f.Image))) }, nil
}

// Size is what an image is said to take: its bytes on disk, or what a pull moves where only that is known.
func Size(img engine.Image) int64 {
	if img.DiskBytes > 0 {
		return img.DiskBytes
	}
	return img.PullBytes
}

// Match finds whether the image fits.
func (f Filter) Match(facts Facts) Answer {
	byKey := map[string]Answer{}
	for _, t := range f.terms {
		got := t.fits(facts)
		if t.op == "!=" {
			if got == Yes {
				return No
			}
			if got == NotKnown {
				byKey[t.key+"!"] = NotKnown
			}
			continue
		}
		if before, seen := byKey[t.key]; !seen || got == Yes || (got == NotKnown && before == No) {
			byKey[t.key] = got
		}
	}
	result := Yes
	for _, got := range byKey {
		if got == No {
			return No
		}
		if got == NotKnown {
			result = NotKnown
		}
	}
	return result
}

// IsZero reports whether f has no terms.
func (f Filter) IsZero() bool { return len(f.terms) == 0 }

// Terms are those of the filter, as they were typed.
func (f Filter) Terms() []string {
	texts := []string{}
	for _, t := range f.terms {
		texts = append(texts, t.text)
	}
	return texts
}

// MarshalJSON writes the terms as they were typed.
func (f Filter) MarshalJSON() ([]byte, error) { return json.Marshal(f.Terms()) }

// UnmarshalJSON parses as ParseFilter does.
func (f *Filter) UnmarshalJSON(data []byte) error {
	var texts []string
	if err := json.Unmarshal(data, &texts); err != nil {
		return err
	}
	parsed, err := ParseFilter(texts)
	if err != nil {
		return err
	}
	*f = parsed
	return nil
}
