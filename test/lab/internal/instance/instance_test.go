// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package instance_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"orlop.dev/orlop/test/lab/internal/instance"
)

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"orlop": true, "a": true, "node-1": true, "t123456789012345678901": true,
		"": false, "1st": false, "-a": false, "a-": false, "Upper": false, "a/b": false, "..": false, "a b": false, "a.b": false,
		"a-name-longer-than-that": false, strings.Repeat("a", 5000): false,
	} {
		if err := instance.CheckName(name); (err == nil) != good {
			t.Errorf("name %.30q: %v", name, err)
		}
	}
}

func TestOpenRefusesLongPaths(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/"+strings.Repeat("long/", 20))
	if _, err := instance.Open("orlop"); err == nil || !strings.Contains(err.Error(), "XDG_CACHE_HOME") {
		t.Errorf("a folder too deep for sockets: %v", err)
	}
}

func open(t *testing.T, name string) instance.Instance {
	t.Helper()
	i, err := instance.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(i.Path("logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestSweepDeadLeavesTheLiving(t *testing.T) {
	cache, err := os.MkdirTemp("/tmp", "lab") //nolint:usetesting // A socket's path has at most 107 characters, and t.TempDir's is long.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(cache) })
	t.Setenv("XDG_CACHE_HOME", cache)
	dead, living := open(t, "dead"), open(t, "living")
	lock, ok, err := living.Lock()
	if !ok || err != nil {
		t.Fatalf("taking the lock: %v %v", ok, err)
	}
	defer lock.Close()
	if _, again, err := living.Lock(); again || err != nil {
		t.Errorf("the lock was taken twice: %v %v", again, err)
	}
	swept, err := instance.SweepDead(context.Background())
	if err != nil || len(swept) != 1 || swept[0] != "dead" {
		t.Errorf("swept %v, %v", swept, err)
	}
	if _, err := os.Stat(dead.Dir()); !os.IsNotExist(err) {
		t.Errorf("the dead one's folder: %v", err)
	}
	if _, err := os.Stat(living.Dir()); err != nil {
		t.Errorf("the living one's folder: %v", err)
	}
}
