// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command guest is the one program in the lab's images: it waits, prints, writes or ends as it is told.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		wait()
		return
	}
	switch args := os.Args[2:]; os.Args[1] {
	case "wait", "pause":
		wait()
	case "print":
		fmt.Println(strings.Join(args, " "))
	case "say-and-wait":
		fmt.Println(strings.Join(args, " "))
		wait()
	case "sleep":
		seconds, _ := strconv.ParseFloat(strings.Join(args, ""), 64)
		time.Sleep(time.Duration(seconds * float64(time.Second)))
	case "dial":
		conn, err := net.DialTimeout("tcp", strings.Join(args, ""), 5*time.Second)
		if err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			os.Exit(1)
		}
		fmt.Println("reached", conn.RemoteAddr())
	case "exit":
		code, _ := strconv.Atoi(strings.Join(args, ""))
		os.Exit(code)
	case "note":
		end(note(args))
	case "need":
		_, err := os.Stat(strings.Join(args, ""))
		end(err)
	default:
		fmt.Fprintln(os.Stderr, "guest: wait, print TEXT, say-and-wait TEXT, sleep SECONDS, dial ADDRESS, exit CODE, note FILE TEXT, need FILE")
		os.Exit(2)
	}
}

// note adds a line to a file.
func note(args []string) error {
	if len(args) == 0 {
		return errors.New("note needs a file")
	}
	file, err := os.OpenFile(args[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, strings.Join(args[1:], " "))
	return errors.Join(err, file.Close())
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// wait also stands in for the pause program: as process 1 it must take the ends of orphans.
func wait() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
