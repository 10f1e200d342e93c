// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	"orlop.dev/orlop/test/lab/internal/pki"
)

type certificates struct {
	dir       string
	authority *pki.Authority
	admin     pki.Pair
}

func (c *certificates) path(name string) string { return filepath.Join(c.dir, name) }

func (s *Supervisor) makeCertificates() (*certificates, error) {
	authority, err := pki.NewAuthority("orlop-lab")
	if err != nil {
		return nil, err
	}
	c := &certificates{dir: s.instance.Path("pki"), authority: authority}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.path("ca.crt"), authority.PEM, 0o644); err != nil {
		return nil, err
	}
	for file, subject := range map[string]pki.Subject{
		"apiserver": {Name: "kube-apiserver", Hosts: []string{"127.0.0.1", "localhost", gateway, serviceIP,
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		"apiserver-to-kubelet": {Name: "kube-apiserver", Organization: "system:masters"},
		"registry":             {Name: "private.lab", Hosts: []string{"private.lab", "127.0.0.1", gateway}},
	} {
		if _, err := c.issue(file, subject); err != nil {
			return nil, err
		}
	}
	if err := c.accountKeys(); err != nil {
		return nil, err
	}
	return c, s.writeKubeconfigs(c)
}

func (c *certificates) issue(file string, subject pki.Subject) (pki.Pair, error) {
	pair, err := c.authority.Issue(subject)
	if err != nil {
		return pair, err
	}
	if err := os.WriteFile(c.path(file+".crt"), pair.Cert, 0o644); err != nil {
		return pair, err
	}
	return pair, os.WriteFile(c.path(file+".key"), pair.Key, 0o600)
}

// accountKeys makes the keys that sign and check the tokens of service accounts.
func (c *certificates) accountKeys() error {
	key, private, err := pki.NewKey()
	if err != nil {
		return err
	}
	public, err := pki.PublicPEM(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("accounts.key"), private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.path("accounts.pub"), public, 0o644)
}

func (s *Supervisor) writeKubeconfigs(c *certificates) error {
	inside := "https://" + gateway + ":" + apiPort
	for file, user := range map[string]struct {
		subject pki.Subject
		server  string
	}{
		s.instance.Kubeconfig():                               {pki.Subject{Name: "admin", Organization: "system:masters"}, "https://" + s.hosts.api.Addr().String()},
		s.instance.Path("control", "controller-manager.conf"): {pki.Subject{Name: "system:kube-controller-manager"}, inside},
		s.instance.Path("control", "scheduler.conf"):          {pki.Subject{Name: "system:kube-scheduler"}, inside},
	} {
		pair, err := c.authority.Issue(user.subject)
		if err != nil {
			return err
		}
		if file == s.instance.Kubeconfig() {
			c.admin = pair
		}
		if err := os.WriteFile(file, []byte(c.kubeconfig(s.spec.Name, user.server, pair)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// kubeconfig needs no other file, so it can be copied anywhere.
func (c *certificates) kubeconfig(name, server string, pair pki.Pair) string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %[1]s
clusters:
- name: %[1]s
  cluster: {server: "%[2]s", certificate-authority-data: %[3]s}
users:
- name: %[1]s
  user: {client-certificate-data: %[4]s, client-key-data: %[5]s}
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[1]s}
`, name, server, b64(c.authority.PEM), b64(pair.Cert), b64(pair.Key))
}
