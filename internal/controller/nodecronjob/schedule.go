// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

const (
	// leastPeriod is that of a child's name, which counts minutes: two runs within one would be the same.
	leastPeriod = time.Minute
	// A last run that lies in the future by more than both of these was made by a clock that was wrong.
	mostAhead, mostPeriodsAhead = time.Hour, 2
)

var (
	errSchedule = errors.New("not a schedule")
	errZone     = errors.New("not a time zone")
)

// schedule is a series of times, its slots.
type schedule struct {
	spec *cron.SpecSchedule
	// every is the period of an @every, whose slots count from the last one that was acted upon. Else it is zero.
	every time.Duration
	zone  *time.Location
}

// parse reads the spec's schedule and time zone. A schedule that has no slot in the years after now is none.
func parse(text string, zone *string, now time.Time) (schedule, error) {
	s := schedule{zone: time.UTC}
	if zone != nil {
		var err error
		if s.zone, err = location(*zone); err != nil {
			return s, err
		}
	}
	if strings.Contains(text, "TZ") {
		return s, fmt.Errorf("%w: schedule %q names a time zone: write that as timeZone", errSchedule, text)
	}
	read, err := standard(text)
	if err != nil {
		return s, fmt.Errorf("%w: schedule %q: %w", errSchedule, text, err)
	}
	switch read := read.(type) {
	case *cron.SpecSchedule:
		s.spec = read
		s.spec.Location = s.zone
	case cron.ConstantDelaySchedule:
		s.every = read.Delay
	}
	switch {
	case s.spec == nil && s.every < leastPeriod:
		return s, fmt.Errorf("%w: schedule %q would run more often than once a minute", errSchedule, text)
	case s.after(now, now).IsZero():
		return s, fmt.Errorf("%w: schedule %q has no date in the next five years", errSchedule, text)
	}
	return s, nil
}

func location(name string) (*time.Location, error) {
	// The library reads "" as UTC and "Local" as the controller's own, which nobody can see.
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("%w: timeZone %q is not the name of one, such as Europe/Berlin", errZone, name)
	}
	found, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%w: timeZone %q is not known: name it as Europe/Berlin or Etc/UTC", errZone, name)
	}
	return found, nil
}

// standard is cron's parser, which panics at some texts.
func standard(text string) (read cron.Schedule, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be read: %v", p)
		}
	}()
	return cron.ParseStandard(strings.Join(strings.Fields(text), " "))
}

// after is the first slot after a time, the zero time if there is none for five years. An @every counts from the anchor.
func (s schedule) after(anchor, t time.Time) time.Time {
	if s.spec != nil {
		return s.spec.Next(t.In(s.zone))
	}
	passed := max(0, t.Sub(anchor)/s.every)
	return anchor.Truncate(time.Second).Add((passed + 1) * s.every).In(s.zone)
}

// latest is the last slot after the anchor and not after now. It looks at some thirty, however many there are.
func (s schedule) latest(anchor, now time.Time) time.Time {
	if first := s.after(anchor, anchor); first.IsZero() || first.After(now) {
		return time.Time{}
	}
	if s.spec == nil {
		return anchor.Truncate(time.Second).Add(now.Sub(anchor.Truncate(time.Second)) / s.every * s.every).In(s.zone)
	}
	// After low there is a slot that is not after now, after high there is none.
	low, high := anchor, now
	for high.Sub(low) > time.Second {
		middle := low.Add(high.Sub(low) / 2)
		if next := s.after(anchor, middle); next.IsZero() || next.After(now) {
			high = middle
		} else {
			low = middle
		}
	}
	return s.after(anchor, low)
}

// period is how far the next two slots are apart.
func (s schedule) period(now time.Time) time.Duration {
	if s.spec == nil {
		return s.every
	}
	first := s.after(now, now)
	if second := s.after(first, first); !second.IsZero() {
		return second.Sub(first)
	}
	return 0
}

// moment is how a schedule stands at some time.
type moment struct {
	due, missed time.Time // the last slot that nothing was done for: it is to run, or is too late for that
	next        time.Time
	anew        bool // the last one lies so far in the future that it counts for nothing
}

// at tells what is due now. Of many slots that were missed only the last counts. The deadline is in seconds; nil: there is none.
func (s schedule) at(now, created time.Time, last *time.Time, deadline *int64) (m moment) {
	anchor := created
	if last != nil {
		anchor = *last
	}
	if ahead := anchor.Sub(now); last != nil && ahead > mostAhead && ahead/mostPeriodsAhead > s.period(now) {
		return moment{anew: true, next: s.after(now, now)}
	}
	if slot := s.latest(anchor, now); !slot.IsZero() {
		if deadline != nil && int64(now.Sub(slot)/time.Second) > *deadline {
			m.missed = slot
		} else {
			m.due = slot
		}
	}
	from := now
	if anchor.After(now) {
		from = anchor // What has run does not run again because the clock was put back.
	}
	m.next = s.after(anchor, from)
	return m
}
