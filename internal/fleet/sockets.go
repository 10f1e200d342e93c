// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import "strings"

// usual are the places of a runtime's socket: those of kubeadm and of most others first.
var usual = map[string][]string{
	"containerd": {"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/k0s/containerd.sock",
		"/var/snap/microk8s/common/run/containerd.sock"},
	"cri-o":  {"/run/crio/crio.sock", "/var/run/crio/crio.sock"},
	"docker": {"/run/docker.sock", "/var/run/docker.sock", "/run/cri-dockerd.sock", "/var/run/cri-dockerd.sock"},
}

// distribution tells by a part of the kubelet's version where that distribution keeps the socket of a runtime.
var distributions = []struct{ suffix, runtime, socket string }{
	{"+k3s", "containerd", "/run/k3s/containerd/containerd.sock"},
	{"+rke2", "containerd", "/run/k3s/containerd/containerd.sock"},
	{"+k0s", "containerd", "/run/k0s/containerd.sock"},
}

// socketsOf are the places to try on a node, the likeliest first; none for a runtime that is not known.
func socketsOf(runtime, kubeletVersion string) []string {
	var sockets []string
	for _, d := range distributions {
		if d.runtime == runtime && strings.Contains(kubeletVersion, d.suffix) {
			sockets = append(sockets, d.socket)
		}
	}
	for _, socket := range usual[runtime] {
		if len(sockets) == 0 || sockets[0] != socket {
			sockets = append(sockets, socket)
		}
	}
	return sockets
}
