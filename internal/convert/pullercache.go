// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"orlop.dev/orlop/api/v1alpha1"
)

// withMeaning are the variables that say something of the cache.
var withMeaning = []string{"IMAGES", "CACHING_INTERVAL_HOURS", "NODE_SELECTOR", "IMAGE_PULL_SECRETS", "AFFINITY", "TOLERATIONS", "NAMESPACE"}

// withoutMeaning are the variables that say something of containers that Orlop does not have.
var withoutMeaning = []string{"CACHING_MEMORY_REQUEST", "CACHING_MEMORY_LIMIT", "CACHING_CPU_REQUEST", "CACHING_CPU_LIMIT",
	"DAEMONSET_NAME", "DAEMONSET_ANNOTATIONS", "DEPLOYMENT_NAME", "KIP_IMAGE"}

func (p *puller) convert(report *Report) {
	if p.settings == nil {
		return
	}
	row := p.rows[0]
	images := p.images(row)
	spec, lost := p.spec()
	var note string
	spec.RefreshInterval, note = p.interval(row)
	p.dropRest(row)
	meta := p.meta
	meta.Namespace = cmp.Or(p.text("NAMESPACE"), meta.Namespace)
	for i, part := range inParts(images) {
		name := meta.Name
		if i > 0 {
			name = fmt.Sprintf("%s-%d", meta.Name, i+1)
		}
		one := *spec.DeepCopy()
		one.Images = part
		draft := report.Add(newCache(meta, name, one), p.rows...)
		if len(lost) > 0 {
			draft.Review("spec.affinity", "of the affinity only what a node must have is kept. Left out: %s.", strings.Join(lost, ", "))
		}
		if note != "" {
			draft.Review("spec.refreshInterval", "%s", note)
		}
	}
	row.Note("as by kubernetes-image-puller, tags are looked for at each interval, cordoned nodes are served, and what is no longer cached stays on the nodes")
	if meta.Namespace != p.meta.Namespace {
		row.Note("it goes to the namespace that NAMESPACE says, where its Secrets are")
	}
}

// spec is all but the images and the interval, and what of the affinity is lost.
func (p *puller) spec() (spec v1alpha1.ImageCacheSpec, lost []string) {
	spec.ImagePullSecrets = pullSecrets(strings.FieldsFunc(p.text("IMAGE_PULL_SECRETS"), isSeparator))
	spec.RemovalPolicy = v1alpha1.RemovalPolicyKeep
	p.json("NODE_SELECTOR", &spec.NodeSelector)
	p.json("TOLERATIONS", &spec.Tolerations)
	var affinity corev1.Affinity
	p.json("AFFINITY", &affinity)
	spec.Affinity, lost = required(affinity)
	// The DaemonSet controller gives this one to its pods.
	spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
		Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule,
	})
	return spec, lost
}

func isSeparator(r rune) bool { return r == ';' || r == ' ' || r == '\n' || r == '\t' || r == '\r' }

// text is a variable's value, empty where it is not set.
func (p *puller) text(name string) string {
	s, there := p.settings[name]
	if !there {
		return ""
	}
	text := strings.TrimSpace(s.at.Text(s.key))
	if p.expand != nil {
		text = p.expand(text)
	}
	return text
}

// json reads a variable that holds JSON; the chart takes the thing itself as well.
func (p *puller) json(name string, into any) {
	s, there := p.settings[name]
	if !there {
		return
	}
	if p.expand == nil {
		s.at.TextInto(s.key, into)
		return
	}
	text := p.text(name)
	if err := json.Unmarshal([]byte(text), into); text != "" && err != nil {
		s.at.Fail(s.key, "the JSON in it cannot be read: %s", trimDecoder(err))
	}
}

func (p *puller) fail(name, format string, args ...any) {
	if s, there := p.settings[name]; there {
		s.at.Fail(s.key, format, args...)
		return
	}
	p.rows[0].doc.root.Fail(name, format, args...)
}

// images reads name=image;name=image; as the puller does: what is malformed it passes over, and of one name the last counts.
func (p *puller) images(row *Row) []v1alpha1.CachedImage {
	var set imageSet
	at := map[string]string{}
	var order []string
	for entry := range strings.SplitSeq(strings.Trim(p.text("IMAGES"), "; \t\n"), ";") {
		entry = strings.TrimSpace(entry)
		parts := strings.Split(entry, "=")
		if len(parts) != 2 {
			if entry != "" {
				row.Note("%s is left out: kubernetes-image-puller ignores what is not NAME=IMAGE", shown(entry))
			}
			continue
		}
		name, image := strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1])
		if _, twice := at[name]; twice {
			row.Note("the name %s stands twice: the last counts, as for kubernetes-image-puller", shown(name))
			order = slices.DeleteFunc(order, func(other string) bool { return other == name })
		}
		if len(validation.IsDNS1123Label(name)) > 0 {
			row.Note("the name %s is none that a container may have: kubernetes-image-puller stops at it, and Orlop needs no names", shown(name))
		}
		at[name] = image
		order = append(order, name)
	}
	for _, name := range order {
		if wrong := set.add(row, v1alpha1.CachedImage{Image: at[name], ImagePullPolicy: corev1.PullAlways}); wrong != "" {
			p.fail("IMAGES", "%s", wrong)
		}
	}
	if len(order) == 0 {
		p.fail("IMAGES", "there is no NAME=IMAGE in it, and kubernetes-image-puller stops there")
	}
	return set.images
}

func shown(text string) string {
	if len(text) > maxShown {
		return fmt.Sprintf("%q…", text[:maxShown])
	}
	return fmt.Sprintf("%q", text)
}

// maxHours is some years, and more than anybody means.
const maxHours = int64(mostRefresh / time.Hour)

// interval is the refreshInterval, and what is to be looked at about it.
func (p *puller) interval(row *Row) (text, review string) {
	const unset = "1h"
	value := p.text("CACHING_INTERVAL_HOURS")
	hours, err := strconv.ParseInt(value, 10, 64)
	switch {
	case value == "" && p.lenient:
		return unset, ""
	case value == "":
		return unset, "CACHING_INTERVAL_HOURS was not among what was converted, and kubernetes-image-puller does not start without it."
	case err != nil:
		row.Note("CACHING_INTERVAL_HOURS %s is no whole number: 1 hour is taken, as by kubernetes-image-puller", shown(value))
		return unset, ""
	case hours <= 0:
		return unset, fmt.Sprintf("CACHING_INTERVAL_HOURS is %d, with which kubernetes-image-puller pulls without a pause.", hours)
	case hours > maxHours:
		p.fail("CACHING_INTERVAL_HOURS", "%d hours are more than %d", hours, maxHours)
	}
	return fmt.Sprintf("%dh", hours), ""
}

// required is the part of an affinity that chooses nodes and must be met, and the names of what is not.
func required(affinity corev1.Affinity) (kept *v1alpha1.Affinity, lost []string) {
	if node := affinity.NodeAffinity; node != nil {
		if node.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			kept = &v1alpha1.Affinity{NodeAffinity: &v1alpha1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: node.RequiredDuringSchedulingIgnoredDuringExecution,
			}}
		}
		if len(node.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
			lost = append(lost, "preferences of nodeAffinity")
		}
	}
	if affinity.PodAffinity != nil {
		lost = append(lost, "podAffinity")
	}
	if affinity.PodAntiAffinity != nil {
		lost = append(lost, "podAntiAffinity")
	}
	return kept, lost
}

// dropRest tells what has no meaning here, and refuses what the puller would stop at.
func (p *puller) dropRest(row *Row) {
	var gone []string
	for _, name := range withoutMeaning {
		s, there := p.settings[name]
		if !there {
			continue
		}
		if s.key == inEnvironment { // Of an environment, whose fields are not named as what they hold.
			s.key = name
		}
		gone = append(gone, s.key)
		switch {
		case strings.HasPrefix(name, "CACHING_"):
			text := p.text(name)
			if _, err := resource.ParseQuantity(text); text != "" && err != nil {
				p.fail(name, "%s is not a quantity, and kubernetes-image-puller stops at it", shown(text))
			}
		case name == "DAEMONSET_ANNOTATIONS":
			p.json(name, &map[string]string{})
		default:
			p.text(name)
		}
	}
	if unknown := p.unknown(); len(unknown) > 0 {
		row.Note("not converted, as kubernetes-image-puller knows no such variables: %s", strings.Join(unknown, ", "))
	}
	if len(gone) > 0 {
		row.Note("dropped, since there is no container for each image: %s", strings.Join(gone, ", "))
	}
}

// unknown are the variables of an environment that nobody reads. Those of a ConfigMap are told as its fields.
func (p *puller) unknown() (names []string) {
	for name, s := range p.settings {
		if s.key == inEnvironment && !slices.Contains(withMeaning, name) && !slices.Contains(withoutMeaning, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
