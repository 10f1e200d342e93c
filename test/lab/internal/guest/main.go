// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command guest is the one program in the lab's images: it waits, prints, or ends as it is told.
package main

import (
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
	default:
		fmt.Fprintln(os.Stderr, "guest: wait, print TEXT, say-and-wait TEXT, sleep SECONDS, dial ADDRESS, exit CODE")
		os.Exit(2)
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
