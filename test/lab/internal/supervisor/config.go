// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervisor

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"orlop.dev/orlop/test/lab/internal/machine"
	"orlop.dev/orlop/test/lab/internal/pki"
	"orlop.dev/orlop/test/lab/internal/registry"
)

// knownHosts lead to the lab's registry for an engine that has no mirror for every host.
var knownHosts = []string{"ghcr.io", "quay.io", "gcr.io", "registry.k8s.io", "public.ecr.aws", "mcr.microsoft.com", "registry.lab"}

const hubMirror = "docker.io" + registry.MirrorSuffix + ":" + mirrorPort

func (s *Supervisor) machineSpec(n *node) (machine.Spec, error) {
	name := n.options.Name
	spec := machine.Spec{
		Name: name, Dir: n.dir, Shared: s.instance.Root(),
		Volumes: map[string]string{"log": "/var/log", "containerd": "/var/lib/containerd", "kubelet": "/var/lib/kubelet", "docker": "/var/lib/docker"},
		Links:   map[string]string{},
		Files: map[string]string{
			"/etc/hostname":         name + "\n",
			"/etc/machine-id":       fmt.Sprintf("%x", sha256.Sum256([]byte(s.spec.Name+"/"+name)))[:32] + "\n",
			"/etc/resolv.conf":      "nameserver " + dnsIP + "\n",
			"/etc/hosts":            hostsFile(n),
			"/etc/crictl.yaml":      "runtime-endpoint: unix:///run/containerd/containerd.sock\nimage-endpoint: unix:///run/containerd/containerd.sock\n",
			"/etc/lab/registry.crt": string(s.certs.authority.PEM),
		},
	}
	for program, path := range s.spec.Programs {
		spec.Links[filepath.Join("/usr/local/bin", program)] = path
	}
	if err := s.engineFiles(n, spec.Files); err != nil {
		return spec, err
	}
	if n.options.Standalone {
		return spec, nil
	}
	return spec, s.kubeletFiles(n, spec.Files)
}

// registryNames are the names under which the nodes and the pods reach the lab's registries.
func registryNames() []string {
	return append([]string{"private.lab", "docker.io" + registry.MirrorSuffix}, knownHosts...)
}

func hostsFile(n *node) string {
	return fmt.Sprintf("127.0.0.1 localhost\n%s %s\n%s %s\n", n.address(), n.options.Name, gateway, strings.Join(registryNames(), " "))
}

func (s *Supervisor) engineFiles(n *node, files map[string]string) (err error) {
	if n.options.Engine == Docker {
		files["/etc/docker/certs.d/"+PrivateHost+"/ca.crt"] = string(s.certs.authority.PEM)
		files["/etc/docker/daemon.json"], err = s.dockerConfig(n)
		return err
	}
	files["/etc/containerd/config.toml"] = containerdConfig
	// With "server" and no "host", an answer of the lab's registry is the last word: nothing else is tried.
	files["/etc/containerd/certs.d/_default/hosts.toml"] = fmt.Sprintf("server = \"http://%s:%s\"\n", gateway, mirrorPort)
	files["/etc/containerd/certs.d/"+PrivateHost+"/hosts.toml"] = fmt.Sprintf("server = \"https://%s\"\nca = \"/etc/lab/registry.crt\"\n", PrivateHost)
	files["/etc/cni/net.d/10-lab.conflist"] = cniConfig(n.podRange())
	return nil
}

const containerdConfig = `version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "` + pauseImage + `"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE runc cannot lower a score, and no sandbox starts.
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    SystemdCgroup = false
`

// cniConfig needs no address translation: the bridge's namespace has a route to the pods of every node.
func cniConfig(podRange string) string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "lab", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "subnet": %q, "dataDir": "/run/cni-ipam", "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
`, podRange)
}

func (s *Supervisor) dockerConfig(n *node) (string, error) {
	config := map[string]any{
		"hosts": []string{"unix:///run/docker.sock"}, "iptables": false, "ip6tables": false, "bridge": "none",
		"userland-proxy": false, "exec-opts": []string{"native.cgroupdriver=cgroupfs"}, "cgroup-parent": s.instance.Cgroup(n.options.Name),
		// A runc older than 1.2, such as that of Debian 12, starts no container with a time namespace.
		"features":            map[string]any{"time-namespaces": false},
		"registry-mirrors":    []string{"http://" + hubMirror},
		"insecure-registries": append([]string{hubMirror, "registry.lab:" + mirrorPort}, knownHosts...),
	}
	merge(config, n.options.Docker)
	content, err := json.MarshalIndent(config, "", "  ")
	return string(content), err
}

func (s *Supervisor) kubeletFiles(n *node, files map[string]string) error {
	name := n.options.Name
	pair, err := s.certs.authority.Issue(pki.Subject{Name: "system:node:" + name, Organization: "system:nodes", Hosts: []string{name, n.address()}})
	if err != nil {
		return err
	}
	config := kubeletConfig(s.instance.Cgroup(name))
	merge(config, n.options.Kubelet)
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	files["/etc/kubernetes/kubelet.json"] = string(content)
	files["/etc/kubernetes/kubelet.conf"] = s.certs.kubeconfig(s.spec.Name, "https://"+gateway+":"+apiPort, pair)
	files["/etc/kubernetes/pki/ca.crt"] = string(s.certs.authority.PEM)
	files["/etc/kubernetes/pki/kubelet.crt"] = string(pair.Cert)
	files["/etc/kubernetes/pki/kubelet.key"] = string(pair.Key)
	return nil
}

// kubeletConfig keeps Kubernetes' own thresholds and shortens its waits, so that tests see what happens.
func kubeletConfig(cgroup string) map[string]any {
	type object = map[string]any
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": object{"anonymous": object{"enabled": false}, "webhook": object{"enabled": true},
			"x509": object{"clientCAFile": "/etc/kubernetes/pki/ca.crt"}},
		"authorization": object{"mode": "Webhook"},
		"tlsCertFile":   "/etc/kubernetes/pki/kubelet.crt", "tlsPrivateKeyFile": "/etc/kubernetes/pki/kubelet.key",
		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"cgroupDriver":             "cgroupfs", "cgroupRoot": cgroup, "failCgroupV1": false, "enforceNodeAllocatable": []string{},
		"failSwapOn": false, "resolvConf": "/etc/resolv.conf", "clusterDomain": "cluster.local", "clusterDNS": []string{dnsIP},
		"imageMinimumGCAge": "10s", "imageGCHighThresholdPercent": 85, "imageGCLowThresholdPercent": 80,
		"evictionHard": object{"memory.available": "50Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%", "imagefs.available": "15%"},
		// Five minutes by default: the pressure would outlive its cause in every test.
		"evictionPressureTransitionPeriod": "10s",
		"nodeStatusUpdateFrequency":        "2s", "nodeStatusReportFrequency": "10s", "nodeLeaseDurationSeconds": 12,
		"maxPods": 110,
	}
}

// merge sets the fields of over in config, and within objects that both have.
func merge(config, over map[string]any) {
	for key, value := range over {
		inner, both := config[key].(map[string]any)
		if fields, ok := value.(map[string]any); ok && both {
			merge(inner, fields)
			continue
		}
		config[key] = value
	}
}

func labels(set map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		pairs = append(pairs, key+"="+set[key])
	}
	return strings.Join(pairs, ",")
}
