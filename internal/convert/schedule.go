// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// zoneText is what a NodeCronJob takes for the name of a time zone.
var zoneText = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`)

// maxZone and maxSchedule are a NodeCronJob's.
const maxZone, maxSchedule = 64, 128

// scheduleIn reads schedule and timeZone. A schedule may name its zone itself (TZ=Europe/Berlin 0 3 * * *): that becomes timeZone.
func scheduleIn(f *Fields, said *remarks) (text string, zone *string) {
	text = strings.Join(strings.Fields(f.Text("schedule")), " ")
	if named := f.Text("timeZone"); named != "" {
		zone = &named
	}
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		rest, ok := strings.CutPrefix(text, prefix)
		if !ok {
			continue
		}
		inside, after, _ := strings.Cut(rest, " ")
		if zone != nil {
			f.Fail("schedule", "%q names a time zone beside timeZone", text)
		}
		text, zone = after, &inside
		break
	}
	if zone != nil && (!zoneText.MatchString(*zone) || len(*zone) > maxZone || *zone == "Local") {
		f.Fail("timeZone", "%q is not the name of a time zone", *zone)
	}
	read, err := standard(text)
	if err == nil && len(text) > maxSchedule {
		err = fmt.Errorf("it is longer than %d characters", maxSchedule)
	}
	if err != nil {
		f.Fail("schedule", "%q is not a schedule: %v", text, err)
		return text, zone
	}
	if every, ok := read.(cron.ConstantDelaySchedule); ok {
		return everyText(every.Delay, said), zone
	}
	return text, zone
}

// everyText is an @every. A NodeCronJob counts in minutes: what is more often becomes each minute.
func everyText(delay time.Duration, said *remarks) string {
	if delay < time.Minute {
		said.add("schedule", "it was every %s: a NodeCronJob runs once a minute at most", delay)
		delay = time.Minute
	}
	text := delay.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return "@every " + text
}

// standard is cron's parser, which panics at some texts.
func standard(text string) (read cron.Schedule, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be read: %v", p)
		}
	}()
	if strings.Contains(text, "TZ") {
		return nil, fmt.Errorf("the time zone in it cannot be read")
	}
	return cron.ParseStandard(text)
}

// count is a number of things to keep, nil where there is none.
func count(f *Fields, key string) *int32 {
	n := seconds(f, key, 0)
	if n == nil {
		return nil
	}
	return new(int32(min(*n, math.MaxInt32)))
}
