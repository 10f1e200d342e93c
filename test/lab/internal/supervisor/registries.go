// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

	"golang.org/x/crypto/bcrypt"

	"orlop.dev/orlop/test/lab/internal/images"
	"orlop.dev/orlop/test/lab/internal/registry"
)

func (s *Supervisor) startRegistries(ctx context.Context) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(PrivatePassword), bcrypt.MinCost)
	if err != nil {
		return err
	}
	passwords := s.instance.Path("control", "htpasswd")
	if err := os.WriteFile(passwords, fmt.Appendf(nil, "%s:%s\n", PrivateUser, hash), 0o600); err != nil {
		return err
	}
	if err := s.startRegistry(ctx, "registry", registryAddr, ""); err != nil {
		return err
	}
	auth := fmt.Sprintf("auth: {htpasswd: {realm: lab, path: %q}}\n", passwords)
	if err := s.startRegistry(ctx, "registry-private", privateAddr, auth); err != nil {
		return err
	}
	s.serveFronts()
	mirror, err := net.Listen("tcp", MirrorHost)
	if err != nil {
		return err
	}
	go forward(mirror, registryAddr)
	go forward(s.hosts.registry, registryAddr)
	go forward(s.hosts.private, gateway+":"+privatePort)
	pause := images.Spec{Program: s.spec.Programs["guest"], Entrypoint: []string{"/guest", "pause"}}
	if _, err := images.Push(ctx, images.Plain(registryAddr), pauseImage, pause); err != nil {
		return err
	}
	s.report(Step{Text: "registries ready"})
	return nil
}

func (s *Supervisor) startRegistry(ctx context.Context, name, address, extra string) error {
	config := s.instance.Path("control", name+".yaml")
	content := fmt.Sprintf(`version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}
http: {addr: %q, relativeurls: true, secret: lab}
%s`, s.instance.Path("control", name), address, extra)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		return err
	}
	d, err := s.run(name, "serve", config)
	if err != nil {
		return err
	}
	return d.await(ctx, name, func() bool { return answers("tcp", address) })
}

// serveFronts opens the registries to the nodes.
func (s *Supervisor) serveFronts() {
	mirror := &registry.Front{Backend: &url.URL{Scheme: "http", Host: registryAddr}, Faults: &s.faults}
	private := &registry.Front{Backend: &url.URL{Scheme: "http", Host: privateAddr}, Host: PrivateHost, Faults: &s.faults}
	serve := func(what string, listen func() error) {
		go func() { s.report(Step{Text: fmt.Sprintf("%s ended: %v", what, listen())}) }()
	}
	// On port 80 it stands for hosts that an engine believes to be insecure registries.
	for _, port := range []string{mirrorPort, "80"} {
		serve("registry on port "+port, func() error { return http.ListenAndServe(gateway+":"+port, mirror) })
	}
	serve("private registry", func() error {
		return http.ListenAndServeTLS(gateway+":"+privatePort, s.certs.path("registry.crt"), s.certs.path("registry.key"), private)
	})
}
