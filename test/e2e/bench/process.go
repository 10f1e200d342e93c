// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// life is what a process is and was, as /proc tells it.
type life struct {
	PID       int
	Anon, RSS int64 // bytes: RssAnon and VmRSS
	// CPU is what all its threads have used so far.
	CPU time.Duration
}

// tick is the kernel's unit of CPU time in /proc, the same on every Linux.
const tick = 10 * time.Millisecond

const procDir = "/proc"

var errNoProcess = errors.New("there is no such process")

func answerProcess(program, argument string) error {
	l, err := findProcess(func(argv []string) bool {
		return filepath.Base(argv[0]) == program && (argument == "" || len(argv) > 1 && argv[1] == argument)
	})
	if err != nil {
		return fmt.Errorf("looking for %s %s: %w", program, argument, err)
	}
	return json.NewEncoder(os.Stdout).Encode(l)
}

// findProcess is the first process whose command line fits.
func findProcess(fits func(argv []string) bool) (life, error) {
	found, err := os.ReadDir(procDir)
	if err != nil {
		return life{}, err
	}
	for _, entry := range found {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join(procDir, entry.Name(), "cmdline"))
		argv := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
		if err == nil && argv[0] != "" && fits(argv) {
			return readLife(pid)
		}
	}
	return life{}, errNoProcess
}

func readLife(pid int) (life, error) {
	l := life{PID: pid}
	dir := filepath.Join(procDir, strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return l, err
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		kibibytes, _ := strconv.ParseInt(fields[1], 10, 64) // Not a number: another field than these two.
		switch fields[0] {
		case "RssAnon:":
			l.Anon = kibibytes << 10
		case "VmRSS:":
			l.RSS = kibibytes << 10
		}
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return l, err
	}
	l.CPU, err = cpuTime(string(stat))
	return l, err
}

// cpuTime reads utime and stime, fields 14 and 15. The second field is a name in parentheses, which may have anything in it.
func cpuTime(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("not a line of /proc/PID/stat: %q", stat)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, err
}

// process looks at a program that runs on a node, in a pod or not.
func (b *bench) process(ctx context.Context, node, program, argument string) (life, error) {
	out, err := b.lab.Exec(ctx, node, stopwatch, inNode, "process", program, argument)
	if err != nil {
		return life{}, err
	}
	var l life
	return l, json.Unmarshal([]byte(out), &l)
}

// planeProcess looks at a program of the lab's control plane. Other labs may run the same: this one's names this lab's folder.
func (b *bench) planeProcess(program string) (life, error) {
	return findProcess(func(argv []string) bool {
		return filepath.Base(argv[0]) == program && strings.Contains(strings.Join(argv[1:], " "), b.lab.Dir()+"/")
	})
}
