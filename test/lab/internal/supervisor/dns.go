// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// maxQuery is the longest query over UDP without extensions.
const maxQuery = 512

// serveNames answers for the API server, the registries and the nodes; every other name does not exist, at once.
func (s *Supervisor) serveNames() error {
	conn, err := net.ListenPacket("udp", dnsIP+":53")
	if err != nil {
		return err
	}
	go func() {
		query := make([]byte, maxQuery)
		for {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return // Ends with the lab.
			}
			if answer := s.answer(query[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return nil
}

func (s *Supervisor) answer(query []byte) []byte {
	var message dnsmessage.Message
	if message.Unpack(query) != nil || len(message.Questions) != 1 {
		return nil
	}
	question := message.Questions[0]
	message.Response, message.Authoritative, message.RecursionAvailable = true, true, true
	message.Additionals = nil
	address, known := s.lookUp(question.Name.String())
	switch {
	case !known:
		message.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		message.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: address.As4()},
		}}
	}
	packed, err := message.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func (s *Supervisor) lookUp(name string) (netip.Addr, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	switch strings.TrimSuffix(name, ".cluster.local") {
	case "kubernetes.default.svc", "kubernetes.default":
		return netip.MustParseAddr(serviceIP), true
	}
	if slices.Contains(registryNames(), name) {
		return netip.MustParseAddr(gateway), true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[name]; n != nil {
		return netip.MustParseAddr(n.address()), true
	}
	return netip.Addr{}, false
}
