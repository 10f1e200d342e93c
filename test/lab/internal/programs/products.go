// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package programs

import "strings"

// Product is one Go module, or part of one, whose programs the lab runs.
type Product struct {
	Name     string
	Version  string
	Dir      string
	Programs []Program
	Tags     string
	LDFlags  string
}

// Program is one binary of a product.
type Program struct {
	Name    string
	Package string
}

const (
	kubernetesVersion = "v1.36.3"
	containerdVersion = "v2.4.2"
	etcdVersion       = "v3.7.3"
	registryVersion   = "v3.1.2"
	crictlVersion     = "v1.36.0"
	mobyVersion       = "v2.0.0-beta.24"

	containerdModule = "github.com/containerd/containerd/v2"
	componentVersion = "k8s.io/component-base/version"
)

// Machine are the products of a machine with containerd and of the registry it pulls from.
func Machine() []Product {
	return []Product{
		{
			Name: "containerd", Version: containerdVersion, Dir: "tools/containerd",
			Programs: under(containerdModule+"/cmd/", "containerd", "containerd-shim-runc-v2", "ctr"),
			Tags:     "no_btrfs no_devmapper no_zfs",
			LDFlags:  "-X " + containerdModule + "/version.Version=" + containerdVersion,
		},
		{
			Name: "registry", Version: registryVersion, Dir: "tools/registry",
			Programs: []Program{{Name: "registry", Package: "."}},
			LDFlags:  "-X github.com/distribution/distribution/v3/version.version=" + registryVersion,
		},
		{
			Name: "crictl", Version: crictlVersion, Dir: "tools/crictl",
			Programs: under("sigs.k8s.io/cri-tools/cmd/", "crictl"),
			LDFlags:  "-X sigs.k8s.io/cri-tools/pkg/version.Version=" + crictlVersion,
		},
		{
			Name: "guest", Version: "own", Dir: "internal/guest",
			Programs: []Program{{Name: "guest", Package: "."}},
		},
	}
}

// Kubernetes are the products of a control plane and of the kubelet.
func Kubernetes() []Product {
	minor := strings.Split(kubernetesVersion, ".")[1]
	return []Product{
		{
			Name: "kubernetes", Version: kubernetesVersion, Dir: "tools/kubernetes",
			Programs: under("k8s.io/kubernetes/cmd/",
				"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"),
			// Clients parse these; a build without them calls itself v0.0.0-master.
			LDFlags: "-X " + componentVersion + ".gitVersion=" + kubernetesVersion +
				" -X " + componentVersion + ".gitMajor=1 -X " + componentVersion + ".gitMinor=" + minor,
		},
		{
			Name: "etcd", Version: etcdVersion, Dir: "tools/etcd",
			Programs: []Program{{Name: "etcd", Package: "go.etcd.io/etcd/server/v3"}},
		},
	}
}

// Docker are the products of a Docker engine, beside those of Machine.
func Docker() []Product {
	return []Product{{
		Name: "moby", Version: mobyVersion, Dir: "tools/moby",
		Programs: under("github.com/moby/moby/v2/cmd/", "dockerd"),
		LDFlags:  "-X github.com/moby/moby/v2/dockerversion.Version=" + strings.TrimPrefix(mobyVersion, "v"),
	}}
}

func under(prefix string, names ...string) []Program {
	programs := make([]Program, 0, len(names))
	for _, name := range names {
		programs = append(programs, Program{Name: name, Package: prefix + name})
	}
	return programs
}
