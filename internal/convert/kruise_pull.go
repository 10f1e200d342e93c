// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"math"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orlop.dev/orlop/api/v1alpha1"
)

// Kruise's defaults, which it does not write into the object.
const (
	kruisePullParallelism = 1
	kruisePullRetries     = 3
)

// pullOrder is what ImagePullJob, ImageListPullJob and the template of one ask for.
type pullOrder struct {
	images      []string
	policy      corev1.PullPolicy
	secrets     []v1alpha1.SecretReference
	names       []string
	labels      map[string]string
	terms       []corev1.NodeSelectorRequirement
	byPods      bool
	parallelism int32
	retries     int32
	deadline    *int64
	ttl         *int32
	goesOn      bool // completionPolicy Never
	remarks     remarks
}

func convertImagePullJob(doc *Document, opts Options, report *Report) {
	row := report.Row(doc)
	spec := doc.root.Object("spec")
	order := readPull(spec, row)
	order.images = imageIn(spec, "image")
	addPull(doc, opts, report, row, order)
}

func convertImageListPullJob(doc *Document, opts Options, report *Report) {
	row := report.Row(doc)
	spec := doc.root.Object("spec")
	order := readPull(spec, row)
	order.images = imagesIn(spec, "images", row)
	noteEach(row, order)
	addPull(doc, opts, report, row, order)
}

// noteEach tells how the parallelism of a list is counted.
func noteEach(row *Row, o pullOrder) {
	if len(o.images) > 1 {
		row.Note("parallelism %d was for each image, so that up to %d pulls ran at once: here it is %d nodes, each with all its images",
			o.parallelism, int(o.parallelism)*len(o.images), o.parallelism)
	}
}

// addPull writes a NodeJob, or, for one that never ends, an ImageCache: that is what goes on with new nodes and looks again each day.
func addPull(doc *Document, opts Options, report *Report, row *Row, o pullOrder) {
	if !o.goesOn {
		meta := metaOf(doc, opts, row, maxJobName)
		job := &v1alpha1.NodeJob{TypeMeta: typeOf("NodeJob"), ObjectMeta: meta.object, Spec: o.job()}
		holdEnded(doc, row, &job.Spec, &o.remarks)
		draft := report.Add(job, row)
		meta.review(draft)
		o.remarks.onto(draft, "spec")
		row.Note("one pull on each node, then it ends; Kruise calls a job completed even where nodes failed, Orlop calls it Failed")
		return
	}
	meta := metaOf(doc, opts, row, maxObjectName)
	cache := &v1alpha1.ImageCache{TypeMeta: typeOf("ImageCache"), ObjectMeta: meta.object, Spec: o.cache()}
	draft := report.Add(cache, row)
	meta.review(draft)
	o.remarks.onto(draft, "spec")
	if cache.Spec.Suspend && !o.byPods {
		draft.Review("spec.suspend", "parallelism 0 held it: turn suspend off to let it pull, and set maxParallelNodes")
	}
	row.Note("completionPolicy Never goes on with new nodes and pulls again each day: that is an ImageCache, with refreshInterval 24h; " +
		"it also pins the images against the kubelet's garbage collection, which pin: false leaves out")
	row.Note("removalPolicy Keep, since Kruise removes no image")
}

// job is the NodeJob that pulls once.
func (o pullOrder) job() v1alpha1.NodeJobSpec {
	return v1alpha1.NodeJobSpec{
		NodeSelector: o.labels, Affinity: affinityOf(o.terms), Tolerations: everyTaint(), NodeNames: o.names,
		Parallelism:             new(intstr.FromInt32(o.parallelism)),
		Pull:                    &v1alpha1.PullAction{Images: o.images, ImagePullPolicy: o.policy, ImagePullSecrets: o.secrets},
		FailurePolicy:           v1alpha1.FailurePolicy{Type: v1alpha1.FailContinue, RestartLimit: new(o.retries)},
		ActiveDeadlineSeconds:   o.deadline,
		TTLSecondsAfterFinished: o.ttl,
		Suspend:                 o.byPods,
	}
}

// cache is the ImageCache that goes on.
func (o pullOrder) cache() v1alpha1.ImageCacheSpec {
	spec := v1alpha1.ImageCacheSpec{
		NodeSelector: o.labels, Affinity: affinityOf(o.terms), Tolerations: everyTaint(),
		ImagePullSecrets: o.secrets, RefreshInterval: "24h", MaxParallelNodes: new(intstr.FromInt32(max(1, o.parallelism))),
		RemovalPolicy: v1alpha1.RemovalPolicyKeep, Suspend: o.byPods || o.parallelism == 0,
	}
	for _, image := range o.images {
		spec.Images = append(spec.Images, v1alpha1.CachedImage{Image: image, ImagePullPolicy: o.policy})
	}
	if len(o.names) > 0 {
		spec.Affinity = affinityOfNames(o.names)
	}
	return spec
}

// readPull reads all but the images.
func readPull(f *Fields, row *Row) pullOrder {
	o := pullOrder{policy: corev1.PullIfNotPresent}
	o.choose(f, row)
	o.parallelism = kruisePullParallelism
	if text := f.Text("parallelism"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			f.Fail("parallelism", "a whole number from 0 is expected, as Kruise does, and not %q", text)
		}
		o.parallelism = int32(n)
	}
	o.retry(f.Object("pullPolicy"), row)
	o.end(f.Object("completionPolicy"), row)
	switch policy := f.Text("imagePullPolicy"); policy {
	case "", string(corev1.PullIfNotPresent):
	default: // Kruise's daemon asks the registry for whatever is not IfNotPresent.
		o.policy = corev1.PullAlways
		if policy != string(corev1.PullAlways) {
			row.Note("imagePullPolicy %s means Always to Kruise's daemon: written so", policy)
		}
	}
	o.secrets = pullSecrets(f.Texts("pullSecrets"))
	if f.Has("sandboxConfig") {
		f.Done("sandboxConfig")
		row.Note("sandboxConfig has no counterpart: Orlop sends no labels or annotations of a pod with a pull")
	}
	return o
}

// choose reads which nodes are meant.
func (o *pullOrder) choose(f *Fields, row *Row) {
	selector := f.Object("selector")
	o.names = once(selector.Texts("names"))
	o.labels = selector.TextMap("matchLabels")
	for _, e := range selector.Objects("matchExpressions") {
		o.terms = append(o.terms, requirement(e))
	}
	if len(o.names) > 0 && len(o.labels)+len(o.terms) > 0 {
		f.Fail("selector", "names stand beside labels, which Kruise refuses")
	}
	if f.Has("podSelector") {
		f.Done("podSelector")
		o.byPods = true
		o.remarks.add("suspend", "podSelector has no counterpart: Orlop chooses nodes by labels, affinity or name, and not by the pods on them. "+
			"Without it every node would pull: choose the nodes, then turn suspend off")
		row.Note("podSelector has no counterpart: suspended until the nodes are chosen otherwise")
	} else {
		row.Note("Kruise ignores taints and cordons: tolerations let this pull on every node too")
	}
}

func (o *pullOrder) retry(f *Fields, row *Row) {
	o.retries = kruisePullRetries
	if n, ok := f.Int("backoffLimit"); ok && n >= 0 { // Less than none is the default there.
		o.retries = int32(min(n, maxRestartLimit))
		if n > maxRestartLimit {
			o.remarks.add("failurePolicy.restartLimit", "backoffLimit was %d: more than %d is not taken", n, maxRestartLimit)
		}
	}
	if n, ok := f.Int("timeoutSeconds"); ok {
		row.Note("pullPolicy.timeoutSeconds %d has no counterpart: Orlop gives each pull 30 minutes", n)
	}
}

func (o *pullOrder) end(f *Fields, row *Row) {
	switch policy := f.Text("type"); policy {
	case "", "Always":
		o.deadline, o.ttl = seconds(f, "activeDeadlineSeconds", 1), ttlOf(f)
	case "Never":
		o.goesOn = true
		for _, key := range []string{"activeDeadlineSeconds", "ttlSecondsAfterFinished"} {
			if f.Text(key) != "" {
				row.Note("completionPolicy.%s is left out: Kruise refuses it with Never", key)
			}
		}
	default:
		f.Fail("type", "%q is neither Always nor Never", policy)
	}
}

func ttlOf(f *Fields) *int32 {
	ttl := seconds(f, "ttlSecondsAfterFinished", 0)
	if ttl == nil {
		return nil
	}
	return new(int32(min(*ttl, math.MaxInt32)))
}

// seconds is a number of them, nil where there is none.
func seconds(f *Fields, key string, least int64) *int64 {
	n, ok := f.Int(key)
	if !ok {
		return nil
	}
	if n < least {
		f.Fail(key, "a number from %d is expected, not %d", least, n)
	}
	return &n
}

// requirement is one of a label selector's matchExpressions, which a node selector spells the same.
func requirement(f *Fields) corev1.NodeSelectorRequirement {
	r := corev1.NodeSelectorRequirement{Key: f.Text("key"), Operator: corev1.NodeSelectorOperator(f.Text("operator")), Values: f.Texts("values")}
	switch metav1.LabelSelectorOperator(r.Operator) {
	case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
		if len(r.Values) == 0 {
			f.Fail("values", "%s needs some", r.Operator)
		}
	case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			f.Fail("values", "%s takes none", r.Operator)
		}
	default:
		f.Fail("operator", "In, NotIn, Exists or DoesNotExist is expected, not %q", cmp.Or(string(r.Operator), "nothing"))
	}
	return r
}
