// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// plane is the control plane and the registries: the programs that run beside the nodes.
type plane struct {
	mu      sync.Mutex
	daemons map[string]*daemon
	ready   chan struct{}
	client  *http.Client
}

type daemon struct {
	cmd  *exec.Cmd
	log  string
	gone chan struct{}
}

// run starts a program of the control plane; its end is seen in the status, not hidden by a restart.
func (s *Supervisor) run(name string, args ...string) (*daemon, error) {
	d := &daemon{log: s.instance.Path("logs", name+".log"), gone: make(chan struct{})}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	program := s.spec.Programs[name]
	if program == "" {
		program = s.spec.Programs["registry"]
	}
	d.cmd = exec.Command(program, args...)
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.Dir = log, log, s.instance.Path("control")
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(d.gone)
		_ = d.cmd.Wait()
	}()
	s.plane.mu.Lock()
	defer s.plane.mu.Unlock()
	if s.plane.daemons == nil {
		s.plane.daemons = map[string]*daemon{}
	}
	s.plane.daemons[name] = d
	return d, nil
}

// await waits for what a daemon does once it is up, and no longer than the daemon lives.
func (d *daemon) await(ctx context.Context, what string, ask func() bool) error {
	ended := false
	err := until(ctx, what, func() bool {
		select {
		case <-d.gone:
			ended = true
			return true
		default:
			return ask()
		}
	})
	if ended {
		err = fmt.Errorf("waiting for %s: it ended: %v", what, d.cmd.ProcessState)
	}
	if err != nil {
		return fmt.Errorf("%w; %s", err, lastWords(d.log))
	}
	return nil
}

func (p *plane) down() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for name, d := range p.daemons {
		select {
		case <-d.gone:
			names = append(names, name)
		default:
		}
	}
	slices.Sort(names)
	return names
}

func (s *Supervisor) startPlane(ctx context.Context) error {
	if err := s.startEtcd(ctx); err != nil {
		return err
	}
	go forward(s.hosts.api, "127.0.0.1:"+apiPort)
	service, err := net.Listen("tcp", serviceIP+":443")
	if err != nil {
		return err
	}
	go forward(service, "127.0.0.1:"+apiPort)
	if err := s.startAPIServer(ctx); err != nil {
		return err
	}
	close(s.plane.ready)
	s.report(Step{Text: "API server ready"})
	if _, err := s.run("kube-controller-manager", "--kubeconfig="+s.instance.Path("control", "controller-manager.conf"),
		"--service-account-private-key-file="+s.certs.path("accounts.key"), "--root-ca-file="+s.certs.path("ca.crt"),
		"--use-service-account-credentials", "--leader-elect=false",
		// At its usual pace it takes four seconds to make an account for each of its controllers.
		"--kube-api-qps=1000", "--kube-api-burst=2000",
		// A node that falls silent is NotReady in seconds, so that tests need not wait most of a minute.
		"--node-monitor-period=1s", "--node-monitor-grace-period=15s"); err != nil {
		return err
	}
	if _, err := s.run("kube-scheduler", "--kubeconfig="+s.instance.Path("control", "scheduler.conf"), "--leader-elect=false"); err != nil {
		return err
	}
	// Before it has its default account, a namespace takes no pods.
	return until(ctx, "the default service account", func() bool {
		return s.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil) == nil
	})
}

func (s *Supervisor) startEtcd(ctx context.Context) error {
	etcd, err := s.run("etcd", "--data-dir="+s.instance.Path("control", "etcd"),
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls="+etcdPeerURL, "--initial-advertise-peer-urls="+etcdPeerURL, "--initial-cluster=default="+etcdPeerURL,
		// The data does not outlive the machine that writes it.
		"--unsafe-no-fsync")
	if err != nil {
		return err
	}
	return etcd.await(ctx, "etcd", func() bool { return answers("tcp", "127.0.0.1:2379") })
}

// auditPolicy has every request told that asks for a change, once it is answered.
const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "omitManagedFields": true,
  "rules": [{"level": "None", "verbs": ["get", "list", "watch"]}, {"level": "Metadata"}]}
`

func (s *Supervisor) startAPIServer(ctx context.Context) error {
	cert := s.certs.path
	policy := s.instance.Path("control", "audit-policy.json")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	d, err := s.run("kube-apiserver", "--etcd-servers="+etcdURL, "--bind-address=0.0.0.0", "--secure-port="+apiPort,
		"--advertise-address="+gateway, "--service-cluster-ip-range="+serviceRange,
		"--tls-cert-file="+cert("apiserver.crt"), "--tls-private-key-file="+cert("apiserver.key"), "--client-ca-file="+cert("ca.crt"),
		"--kubelet-client-certificate="+cert("apiserver-to-kubelet.crt"), "--kubelet-client-key="+cert("apiserver-to-kubelet.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file="+cert("accounts.key"),
		"--service-account-key-file="+cert("accounts.pub"), "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--cert-dir="+s.instance.Path("control", "apiserver"),
		"--audit-policy-file="+policy, "--audit-log-path="+s.instance.AuditLog(), "--audit-log-mode=blocking",
		// In megabytes: what was counted up to a place in the file must not move to another file.
		"--audit-log-maxsize=10000",
		// Otherwise logs and exec look up the names of nodes in DNS.
		"--kubelet-preferred-address-types=InternalIP")
	if err != nil {
		return err
	}
	return d.await(ctx, "kube-apiserver", func() bool { return s.get(ctx, "/readyz", nil) == nil })
}

// restartAPIServer kills it first: when asked to end, it may wait a minute for open watches.
func (s *Supervisor) restartAPIServer(ctx context.Context) error {
	if !s.spec.Kubernetes {
		return errors.New("this lab has no API server")
	}
	s.plane.mu.Lock()
	d := s.plane.daemons["kube-apiserver"]
	s.plane.mu.Unlock()
	if d == nil {
		return errors.New("the API server has not been started yet")
	}
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-d.gone
	return s.startAPIServer(ctx)
}

func (s *Supervisor) newClient() (*http.Client, error) {
	pair, err := tls.X509KeyPair(s.certs.admin.Cert, s.certs.admin.Key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.certs.authority.PEM)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}, nil
}

// get reads an object from the API server.
func (s *Supervisor) get(ctx context.Context, path string, into any) error {
	return s.ask(ctx, http.MethodGet, path, into)
}

var errNotFound = errors.New("not found")

func (s *Supervisor) ask(ctx context.Context, method, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "https://127.0.0.1:"+apiPort+path, nil)
	if err != nil {
		return err
	}
	response, err := s.plane.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%s %s: %w", method, path, errNotFound)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	if into == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	return json.NewDecoder(response.Body).Decode(into)
}
