// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	for name, tt := range map[string]struct {
		stat string
		want time.Duration
		ok   bool
	}{
		"plain":            {"12 (agent) S 1 12 12 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 9 0 100 1 1", 1750 * time.Millisecond, true},
		"a name with gaps": {"12 (a) b (c)) S 1 12 12 0 -1 4194560 100 0 0 0 1 2 0 0 20", 30 * time.Millisecond, true},
		"cut short":        {"12 (agent) S 1 12", 0, false},
		"not a number":     {"12 (agent) S 1 12 12 0 -1 4194560 100 0 0 0 x 25 0 0 20", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := cpuTime(tt.stat)
			if (err == nil) != tt.ok || tt.ok && got != tt.want {
				t.Errorf("it is %s (%v), want %s", got, err, tt.want)
			}
		})
	}
}

func TestFindProcess(t *testing.T) {
	self, err := findProcess(func(argv []string) bool { return argv[0] == os.Args[0] })
	if err != nil {
		t.Fatal(err)
	}
	if self.PID != os.Getpid() || self.Anon == 0 || self.RSS < self.Anon {
		t.Errorf("this process is %+v, and should be %d with memory", self, os.Getpid())
	}
	if _, err := findProcess(func([]string) bool { return false }); !errors.Is(err, errNoProcess) {
		t.Errorf("nothing fits, and it says %v", err)
	}
}
