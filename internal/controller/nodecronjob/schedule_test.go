// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package nodecronjob

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func read(t *testing.T, text, zone string) schedule {
	t.Helper()
	var name *string
	if zone != "" {
		name = &zone
	}
	s, err := parse(text, name, instant(t, "2026-11-20T12:00:00Z"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchedulesThatAreNone(t *testing.T) {
	for label, c := range map[string]struct {
		schedule, zone string
		err            error
		want           string
	}{
		"a zone in it":                 {"TZ=Europe/Berlin 0 3 * * *", "", errSchedule, `schedule "TZ=Europe/Berlin 0 3 * * *" names a time zone: write that as timeZone`},
		"cron's zone in it":            {"CRON_TZ=UTC 0 3 * * *", "", errSchedule, "names a time zone"},
		"a zone at which cron panics":  {"TZ=0", "", errSchedule, "names a time zone"},
		"a zone of nothing":            {"TZ=", "", errSchedule, "names a time zone"},
		"nothing":                      {"", "", errSchedule, `schedule "": empty spec string`},
		"blank":                        {"   ", "", errSchedule, "empty spec string"},
		"four fields":                  {"0 3 * *", "", errSchedule, "expected exactly 5 fields, found 4"},
		"six fields":                   {"0 0 3 * * *", "", errSchedule, "expected exactly 5 fields, found 6"},
		"a minute too many":            {"60 * * * *", "", errSchedule, "end of range (60) above maximum (59)"},
		"Sunday as 7":                  {"0 0 * * 7", "", errSchedule, "above maximum (6)"},
		"a month of no name":           {"0 0 1 foo *", "", errSchedule, "foo"},
		"the last day":                 {"0 0 L * *", "", errSchedule, "L"},
		"a step of nothing":            {"*/0 * * * *", "", errSchedule, "step of range should be a positive number"},
		"a range that goes back":       {"30-10 * * * *", "", errSchedule, "beyond end of range"},
		"a step without number":        {"*/ * * * *", "", errSchedule, "*/"},
		"the 30th of February":         {"0 0 30 2 *", "", errSchedule, "has no date in the next five years"},
		"the 31st of short months":     {"0 0 31 4,6,9,11 *", "", errSchedule, "has no date in the next five years"},
		"no such word":                 {"@fortnightly", "", errSchedule, "@fortnightly"},
		"every, nothing":               {"@every", "", errSchedule, "@every"},
		"every, nonsense":              {"@every day", "", errSchedule, "@every day"},
		"every day of cron's":          {"@every 1d", "", errSchedule, "@every 1d"},
		"every, backwards":             {"@every -5m", "", errSchedule, `schedule "@every -5m" would run more often than once a minute`},
		"every second":                 {"@every 1s", "", errSchedule, "would run more often than once a minute"},
		"every, too long":              {"@every 99999999999h", "", errSchedule, "@every 99999999999h"},
		"Local":                        {"0 3 * * *", "Local", errZone, `timeZone "Local" is not the name of one`},
		"a zone of nobody":             {"0 3 * * *", "Europe/Atlantis", errZone, `timeZone "Europe/Atlantis" is not known`},
		"a path":                       {"0 3 * * *", "../../etc/passwd", errZone, `"../../etc/passwd" is not known`},
		"an offset":                    {"0 3 * * *", "+02:00", errZone, "is not known"},
		"the zone before the schedule": {"nonsense", "Nowhere", errZone, "Nowhere"},
	} {
		t.Run(label, func(t *testing.T) {
			var zone *string
			if c.zone != "" {
				zone = &c.zone
			}
			_, err := parse(c.schedule, zone, instant(t, "2026-11-20T12:00:00Z"))
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, not %s", err, c.want)
			}
		})
	}
	empty := ""
	if _, err := parse("@daily", &empty, time.Now()); !errors.Is(err, errZone) {
		t.Errorf("the empty zone: %v", err)
	}
}

// The panics of the parser are not ours.
func TestAPanicIsAnError(t *testing.T) {
	for _, text := range []string{"TZ=0", "TZ=", "CRON_TZ=Europe/Berlin"} {
		if _, err := standard(text); err == nil || !strings.Contains(err.Error(), "it cannot be read") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The next slots after a time, also where clocks are changed: as a CronJob has them.
func TestSlots(t *testing.T) {
	for label, c := range map[string]struct {
		schedule, zone, from string
		want                 []string
	}{
		"each Sunday": {"0 3 * * 0", "", "2026-11-20T12:00:00Z", []string{"2026-11-22T03:00:00Z", "2026-11-29T03:00:00Z"}},
		"names":       {"0 3 * JAN,feb Mon-Tue", "", "2026-11-20T12:00:00Z", []string{"2027-01-04T03:00:00Z", "2027-01-05T03:00:00Z"}},
		"either day":  {"0 0 13 * 5", "", "2026-11-20T12:00:00Z", []string{"2026-11-27T00:00:00Z", "2026-12-04T00:00:00Z", "2026-12-11T00:00:00Z", "2026-12-13T00:00:00Z"}},
		"a question":  {"0 0 ? * 5", "", "2026-11-20T12:00:00Z", []string{"2026-11-27T00:00:00Z"}},
		"blanks":      {"  0\t3  * * 0 ", "", "2026-11-20T12:00:00Z", []string{"2026-11-22T03:00:00Z"}},
		"steps":       {"*/25 6-7 * * *", "", "2026-11-20T12:00:00Z", []string{"2026-11-21T06:00:00Z", "2026-11-21T06:25:00Z", "2026-11-21T06:50:00Z", "2026-11-21T07:00:00Z"}},
		"leap days":   {"0 0 29 2 *", "", "2026-11-20T12:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		"hourly":      {"@hourly", "", "2026-11-20T12:00:00Z", []string{"2026-11-20T13:00:00Z"}},
		"yearly":      {"@yearly", "", "2026-11-20T12:00:00Z", []string{"2027-01-01T00:00:00Z"}},
		"midnight":    {"@midnight", "Asia/Kathmandu", "2026-11-20T12:00:00Z", []string{"2026-11-20T18:15:00Z"}},
		"a zone":      {"0 3 * * *", "Europe/Berlin", "2026-11-20T12:00:00Z", []string{"2026-11-21T02:00:00Z"}},
		"an offset":   {"0 3 * * *", "Etc/GMT+5", "2026-11-20T12:00:00Z", []string{"2026-11-21T08:00:00Z"}},
		"an hour that is not": {"30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"}},
		"an hour that is twice": {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"}},
		"each hour, clocks forward": {"0 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}},
		"each hour, clocks back":    {"0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", []string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		"half an hour forward":      {"15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00:00Z", []string{"2026-10-04T15:15:00Z"}},
		"every":                     {"@every 90m", "", "2026-11-20T12:00:07Z", []string{"2026-11-20T13:30:07Z", "2026-11-20T15:00:07Z"}},
		"every, blanks":             {"@every  1h30m", "", "2026-11-20T12:00:07Z", []string{"2026-11-20T13:30:07Z"}},
		"every, clocks forward":     {"@every 1h", "Europe/Berlin", "2026-03-29T00:30:00Z", []string{"2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"}},
	} {
		t.Run(label, func(t *testing.T) {
			s, from := read(t, c.schedule, c.zone), instant(t, c.from)
			at := from
			for _, want := range c.want {
				at = s.after(from, at)
				if !at.Equal(instant(t, want)) {
					t.Fatalf("got %s, not %s", at.UTC(), want)
				}
			}
			for _, slot := range c.want {
				if got := s.latest(from, instant(t, slot)); !got.Equal(instant(t, slot)) {
					t.Errorf("the latest at %s is %s", slot, got.UTC())
				}
				if got := s.latest(from, instant(t, slot).Add(-time.Second)); !got.Before(instant(t, slot)) {
					t.Errorf("the latest before %s is %s", slot, got.UTC())
				}
			}
		})
	}
}

func TestMoments(t *testing.T) {
	deadline := func(n int64) *int64 { return &n }
	for label, c := range map[string]struct {
		schedule, created, last, now string
		deadline                     *int64
		due, missed, next            string
		anew                         bool
	}{
		"new":                           {schedule: "0 * * * *", created: "2026-11-20T12:10:00Z", now: "2026-11-20T12:10:01Z", next: "2026-11-20T13:00:00Z"},
		"made at a slot":                {schedule: "0 * * * *", created: "2026-11-20T12:00:00Z", now: "2026-11-20T12:00:01Z", next: "2026-11-20T13:00:00Z"},
		"a moment before":               {schedule: "0 * * * *", created: "2026-11-20T12:10:00Z", now: "2026-11-20T12:59:59Z", next: "2026-11-20T13:00:00Z"},
		"just now":                      {schedule: "0 * * * *", created: "2026-11-20T12:10:00Z", now: "2026-11-20T13:00:00Z", due: "2026-11-20T13:00:00Z", next: "2026-11-20T14:00:00Z"},
		"done":                          {schedule: "0 * * * *", created: "2026-11-20T12:10:00Z", last: "2026-11-20T13:00:00Z", now: "2026-11-20T13:00:01Z", next: "2026-11-20T14:00:00Z"},
		"one missed":                    {schedule: "0 * * * *", created: "2026-11-01T00:00:00Z", last: "2026-11-20T12:00:00Z", now: "2026-11-20T13:59:59Z", due: "2026-11-20T13:00:00Z", next: "2026-11-20T14:00:00Z"},
		"a million missed":              {schedule: "* * * * *", created: "2024-01-01T00:00:00Z", last: "2024-11-20T12:00:00Z", now: "2026-11-20T13:59:59Z", due: "2026-11-20T13:59:00Z", next: "2026-11-20T14:00:00Z"},
		"a million missed, never run":   {schedule: "* * * * *", created: "2006-01-01T00:00:00Z", now: "2026-11-20T13:59:59Z", due: "2026-11-20T13:59:00Z", next: "2026-11-20T14:00:00Z"},
		"twenty leap days":              {schedule: "0 0 29 2 *", created: "1950-01-01T00:00:00Z", now: "2026-11-20T13:59:59Z", due: "2024-02-29T00:00:00Z", next: "2028-02-29T00:00:00Z"},
		"within the deadline":           {schedule: "0 * * * *", created: "2026-11-20T12:10:00Z", now: "2026-11-20T13:01:00.9Z", deadline: deadline(60), due: "2026-11-20T13:00:00Z", next: "2026-11-20T14:00:00Z"},
		"after the deadline":            {schedule: "0 * * * *", created: "2026-11-20T12:10:00Z", now: "2026-11-20T13:01:01Z", deadline: deadline(60), missed: "2026-11-20T13:00:00Z", next: "2026-11-20T14:00:00Z"},
		"no time to lose":               {schedule: "0 * * * *", created: "2026-11-20T12:10:00Z", now: "2026-11-20T13:00:00.4Z", deadline: deadline(0), due: "2026-11-20T13:00:00Z", next: "2026-11-20T14:00:00Z"},
		"too late by a second":          {schedule: "0 * * * *", created: "2026-11-20T12:10:00Z", now: "2026-11-20T13:00:01Z", deadline: deadline(0), missed: "2026-11-20T13:00:00Z", next: "2026-11-20T14:00:00Z"},
		"a deadline of ages":            {schedule: "0 0 * * *", created: "2026-11-18T12:10:00Z", now: "2026-11-20T13:00:00Z", deadline: deadline(1<<63 - 1), due: "2026-11-20T00:00:00Z", next: "2026-11-21T00:00:00Z"},
		"many missed, the last in time": {schedule: "*/10 * * * *", created: "2026-11-18T12:10:00Z", now: "2026-11-20T13:02:00Z", deadline: deadline(300), due: "2026-11-20T13:00:00Z", next: "2026-11-20T13:10:00Z"},
		"every, with a short deadline":  {schedule: "@every 1h", created: "2026-11-20T12:00:30Z", now: "2026-11-20T13:00:31Z", deadline: deadline(10), due: "2026-11-20T13:00:30Z", next: "2026-11-20T14:00:30Z"},
		"every, from the last":          {schedule: "@every 1h", created: "2026-11-20T01:00:00Z", last: "2026-11-20T12:15:00Z", now: "2026-11-20T13:14:59Z", next: "2026-11-20T13:15:00Z"},
		"every, many missed":            {schedule: "@every 1m", created: "2016-11-20T01:00:11Z", now: "2026-11-20T13:14:59Z", due: "2026-11-20T13:14:11Z", next: "2026-11-20T13:15:11Z"},
		"put back by a little":          {schedule: "0 * * * *", created: "2026-11-20T01:00:00Z", last: "2026-11-20T13:00:00Z", now: "2026-11-20T12:59:30Z", next: "2026-11-20T14:00:00Z"},
		"put back by an hour":           {schedule: "*/5 * * * *", created: "2026-11-20T01:00:00Z", last: "2026-11-20T13:00:00Z", now: "2026-11-20T12:00:00Z", next: "2026-11-20T13:05:00Z"},
		"put back by more":              {schedule: "*/5 * * * *", created: "2026-11-20T01:00:00Z", last: "2026-11-20T13:00:00Z", now: "2026-11-20T11:59:58Z", next: "2026-11-20T12:00:00Z", anew: true},
		"put back by two periods":       {schedule: "0 0 * * *", created: "2026-11-01T01:00:00Z", last: "2026-11-20T00:00:00Z", now: "2026-11-18T00:00:00Z", next: "2026-11-21T00:00:00Z"},
		"put back by three":             {schedule: "0 0 * * *", created: "2026-11-01T01:00:00Z", last: "2026-11-20T00:00:00Z", now: "2026-11-16T23:00:00Z", next: "2026-11-17T00:00:00Z", anew: true},
		"a last run in a far year":      {schedule: "@every 200000h", created: "2026-11-01T01:00:00Z", last: "2226-11-20T00:00:00Z", now: "2026-11-16T23:00:00Z", next: "2049-09-10T07:00:00Z", anew: true},
		"made in the future":            {schedule: "0 * * * *", created: "2026-11-20T15:10:00Z", now: "2026-11-20T12:00:00Z", next: "2026-11-20T16:00:00Z"},
	} {
		t.Run(label, func(t *testing.T) {
			var last *time.Time
			if c.last != "" {
				last = new(instant(t, c.last))
			}
			s, now := read(t, c.schedule, ""), instant(t, c.now)
			got := s.at(now, instant(t, c.created), last, c.deadline)
			for name, times := range map[string][2]time.Time{"due": {got.due, instant(t, c.due)}, "missed": {got.missed, instant(t, c.missed)}, "next": {got.next, instant(t, c.next)}} {
				if !times[0].Equal(times[1]) {
					t.Errorf("%s is %s, not %s", name, times[0].UTC(), times[1].UTC())
				}
			}
			if got.anew != c.anew {
				t.Errorf("anew is %v", got.anew)
			}
		})
	}
}

// The last slot is the one that walking over all of them would end at, in every zone and over every change of its clocks.
func TestTheLatestIsThatOfWalking(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	field := func(low, high int) string {
		switch random.IntN(4) {
		case 0:
			return "*"
		case 1:
			return fmt.Sprintf("*/%d", 2+random.IntN(high))
		default:
			return fmt.Sprint(low + random.IntN(high-low+1))
		}
	}
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Africa/Cairo", "Asia/Tehran", "Australia/Lord_Howe", "Pacific/Apia", "America/Havana", "Asia/Beirut"}
	for range 400 {
		text, zone := strings.Join([]string{field(0, 59), field(0, 23), field(1, 28), field(1, 12), "*"}, " "), zones[random.IntN(len(zones))]
		s := read(t, text, zone)
		anchor := time.Date(2011+random.IntN(15), time.Month(1+random.IntN(12)), 1+random.IntN(28), random.IntN(24), random.IntN(60), random.IntN(60), 0, time.UTC)
		now := anchor.Add(time.Duration(random.Int64N(int64(30 * 24 * time.Hour))))
		var want time.Time
		for at := s.after(anchor, anchor); !at.IsZero() && !at.After(now); at = s.after(anchor, at) {
			want = at
		}
		if got := s.latest(anchor, now); !got.Equal(want) {
			t.Errorf("%s in %s, from %s to %s: %s, not %s", text, zone, anchor, now, got.UTC(), want.UTC())
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"0 3 * * 0", "@every 1h", "TZ=", "*/0 * * * *", "0 0 31 2 *", "@daily", "1-2/3,4 ? L * MON"} {
		f.Add(text)
	}
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse(text, nil, now)
		if err != nil {
			return
		}
		if m := s.at(now, now.AddDate(-1, 0, 0), nil, nil); !m.next.After(now) || m.due.After(now) {
			t.Errorf("%q: %+v", text, m)
		}
	})
}
