// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"

	"orlop.dev/orlop/internal/suggest"
)

// Choice says which nodes are meant. All that is set must fit; its zero value means every node.
type Choice struct {
	Selector      string // of labels, as kubectl's -l
	FieldSelector string
	Names         []string
}

// Node is one machine, as its Node object tells.
type Node struct {
	Name           string
	Runtime        string // containerd, cri-o or docker
	RuntimeVersion string
	OS, Arch       string
	KubeletVersion string
	// Trouble is why it cannot be asked at all; nil: it can.
	Trouble *Trouble
	// Pressure are the conditions under which its kubelet refuses ordinary pods, such as DiskPressure.
	Pressure []string

	sockets []string // where its runtime's socket is looked for, in their order
	selinux bool
	maxPods int64
	full    bool
}

// listTimeout bounds the first request: an API server that cannot be reached must not look like a slow one.
const listTimeout = 20 * time.Second

// Nodes gives the chosen nodes by name. A name that does not exist is an error: nothing may begin with a slip.
func (f *Fleet) Nodes(ctx context.Context, choice Choice) ([]Node, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var who sync.WaitGroup
	who.Go(func() { f.user = f.whoAmI(ctx) })
	defer who.Wait()
	options := metav1.ListOptions{LabelSelector: choice.Selector, FieldSelector: choice.FieldSelector}
	if len(choice.Names) == 1 {
		one := fields.OneTermEqualSelector("metadata.name", choice.Names[0]).String()
		options.FieldSelector = strings.TrimPrefix(options.FieldSelector+","+one, ",")
	}
	list, err := f.client.CoreV1().Nodes().List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("listing the nodes: %w", err)
	}
	var nodes []Node
	for i := range list.Items {
		if item := &list.Items[i]; len(choice.Names) == 0 || slices.Contains(choice.Names, item.Name) {
			nodes = append(nodes, f.describe(item, time.Now()))
		}
	}
	if err := f.missing(ctx, choice, nodes); err != nil {
		return nil, err
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes, nil
}

// missing is the error for names that were asked for and are not among the nodes.
func (f *Fleet) missing(ctx context.Context, choice Choice, found []Node) error {
	has := func(name string) bool {
		return slices.ContainsFunc(found, func(n Node) bool { return n.Name == name })
	}
	for _, name := range choice.Names {
		if has(name) {
			continue
		}
		if choice.Selector != "" || choice.FieldSelector != "" {
			return fmt.Errorf("node %q does not exist, or does not fit the selector beside it", name)
		}
		known := []string{}
		if all, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err == nil {
			for i := range all.Items {
				known = append(known, all.Items[i].Name)
			}
		}
		return fmt.Errorf("node %q does not exist%s", name, suggest.DidYouMean(name, known))
	}
	return nil
}

// describe reads what matters to us from a Node object.
func (f *Fleet) describe(node *corev1.Node, now time.Time) Node {
	info := node.Status.NodeInfo
	name, version, _ := strings.Cut(info.ContainerRuntimeVersion, "://")
	n := Node{
		Name: node.Name, Runtime: name, RuntimeVersion: version,
		OS: info.OperatingSystem, Arch: info.Architecture, KubeletVersion: info.KubeletVersion,
		selinux: shipsSELinux(info.OSImage), maxPods: node.Status.Allocatable.Pods().Value(),
		sockets: socketsOf(name, info.KubeletVersion),
	}
	if f.cfg.Socket != "" {
		n.sockets = []string{f.cfg.Socket}
	}
	for _, c := range node.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			if c.Status != corev1.ConditionTrue {
				n.Trouble = &Trouble{Reason: ReasonNotReady, Message: fmt.Sprintf("NotReady since %s: %s",
					duration.HumanDuration(now.Sub(c.LastTransitionTime.Time)), cmp.Or(c.Message, c.Reason))}
			}
		case corev1.NodeDiskPressure, corev1.NodeMemoryPressure, corev1.NodePIDPressure:
			if c.Status == corev1.ConditionTrue {
				n.Pressure = append(n.Pressure, string(c.Type))
			}
		default: // No matter of ours.
		}
	}
	switch {
	case n.OS != "linux":
		n.Trouble = &Trouble{Reason: ReasonUnsupported, Message: n.OS + ": not supported"}
	case n.Trouble == nil && len(n.sockets) == 0:
		n.Trouble = &Trouble{Reason: ReasonUnsupported, Message: fmt.Sprintf("runtime %q is not known", info.ContainerRuntimeVersion),
			Advice: "if it speaks CRI, name its socket with --runtime-socket"}
	}
	return n
}

// enforcing are the systems that come with SELinux enforcing, by words of the Node's osImage. There a container may
// not connect to a socket of the host unless its type allows it.
var enforcing = []string{"Red Hat", "Fedora", "CentOS", "Rocky", "AlmaLinux", "Oracle Linux", "SL Micro", "SLE Micro"}

func shipsSELinux(osImage string) bool {
	return slices.ContainsFunc(enforcing, func(word string) bool { return strings.Contains(osImage, word) })
}
