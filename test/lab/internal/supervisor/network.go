// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// setUpNetwork makes the bridge that joins the nodes, in the lab's own namespace: nothing of the host's network changes.
func (s *Supervisor) setUpNetwork(ctx context.Context) error {
	for name, value := range map[string]string{"ipv4/ip_forward": "1", "ipv4/conf/all/send_redirects": "0", "ipv6/conf/all/disable_ipv6": "1"} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("setting up the network: %w", err)
		}
	}
	// The API server's service address is here, and the nodes' default route leads here, so no node needs a rule for it.
	return ip(ctx, 0,
		"link set lo up",
		"addr add "+serviceIP+"/32 dev lo",
		"addr add "+dnsIP+"/32 dev lo",
		// Left to itself, a bridge takes the lowest address of its ports: a node that comes or goes would cut off the others, until they
		// ask anew where their gateway is.
		"link add "+bridgeName+" address "+bridgeMAC+" type bridge",
		"addr add "+gateway+"/24 dev "+bridgeName,
		"link set "+bridgeName+" up",
	)
}

// plug joins a node's network namespace to the bridge.
func (n *node) plug(ctx context.Context, pid int) error {
	// The kernel takes down a machine's links some time after its end: they may still be there when the next one starts. Where
	// they have gone, there is nothing to delete.
	_ = ip(ctx, 0, "link delete "+n.link())
	if err := ip(ctx, 0,
		fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %d", n.link(), n.mac(), pid),
		fmt.Sprintf("link set %s master %s up", n.link(), bridgeName),
		fmt.Sprintf("route replace %s via %s", n.podRange(), n.address()),
	); err != nil {
		return err
	}
	return ip(ctx, pid,
		"link set lo up",
		"addr add "+n.address()+"/24 dev eth0",
		"link set eth0 up",
		"route add default via "+gateway,
	)
}

func (n *node) link() string    { return fmt.Sprintf("veth%d", n.index) }
func (n *node) address() string { return fmt.Sprintf("172.30.0.%d", 10+n.index) }

// mac is the same for every node that has this address, one after the other.
func (n *node) mac() string      { return fmt.Sprintf("02:ac:1e:00:00:%02x", 10+n.index) }
func (n *node) podRange() string { return fmt.Sprintf("10.244.%d.0/24", n.index) }

// ip runs commands of ip(8) in the network namespace of the process, or here.
func ip(ctx context.Context, pid int, commands ...string) error {
	argv := []string{"ip", "-batch", "-"}
	if pid != 0 {
		argv = append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pid)}, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("setting up links: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// forward hands each connection on, for as long as the lab lives.
func forward(listener net.Listener, to string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go join(conn, to)
	}
}

func join(from net.Conn, to string) {
	defer from.Close()
	onward, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer onward.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, onward}, {onward, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0])
			if half, ok := way[1].(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
}
