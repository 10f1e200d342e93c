// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// fledgedRefresh is how often kube-fledged refreshes unless its flag says otherwise.
	fledgedRefresh = "15m"
	// leastRefresh and mostRefresh are the bounds of refreshInterval; the second is what CEL's durations and a person's sense take.
	leastRefresh = 10 * time.Second
	mostRefresh  = 10 * 365 * 24 * time.Hour
)

// fledgedSettings are the flags of kube-fledged's controller, as far as they mean something to a cache.
type fledgedSettings struct {
	// from is the row of the document they are from; nil where there is none.
	from    *Row
	refresh string
	// always and odd are --image-pull-policy: Always, and what is neither that nor IfNotPresent, which kube-fledged takes for the
	// latter, :latest included.
	always, odd bool
	account     string
	surge       *intstr.IntOrString
	// note is what is to be looked at about refreshInterval.
	note string
}

// fledgedFlag is a flag of the controller, or the value of the chart that becomes it.
type fledgedFlag struct {
	name, value string
	// said is what it is called where it stands, which is key of at.
	said, key string
	at        *Fields
}

func (f fledgedFlag) fail(what string) { f.at.Fail(f.key, "%s %s: %q", f.name, what, f.value) }

// interval is the refreshInterval.
func (s *fledgedSettings) interval() string {
	if s.from == nil {
		s.note = "15m is kube-fledged's default. Neither the Deployment of its controller nor the values of its chart were among what was " +
			"converted: where they set a refresh frequency or an image pull policy, set this and imagePullPolicy alike."
	}
	if s.refresh == "" {
		return fledgedRefresh
	}
	return s.refresh
}

// fledgedSources are the kinds of what has the flags: what runs, before what that is made from. Values have no kind.
var fledgedSources = []string{"Deployment", fledgedOperated, ""}

// readFledgedSettings reads all that is no cache.
func readFledgedSettings(docs []*Document, rows map[*Document]*Row) (s fledgedSettings) {
	source := func(doc *Document) int { return slices.Index(fledgedSources, doc.Kind()) }
	inOrder := slices.SortedStableFunc(slices.Values(docs), func(a, b *Document) int { return cmp.Compare(source(a), source(b)) })
	for _, doc := range inOrder {
		if !isFledgedCache(doc) {
			s.readPart(doc, rows[doc])
		}
	}
	if s.from != nil && !slices.ContainsFunc(docs, isFledgedCache) {
		s.from.Note("what it sets holds for every ImageCache of kube-fledged's, and none is here: convert them together with it")
	}
	return s
}

// readPart reads an object of kube-fledged's own manifests, or the values of its chart.
func (s *fledgedSettings) readPart(doc *Document, row *Row) {
	var flags []fledgedFlag
	found := true
	switch doc.Kind() {
	case "":
		row.Source = "values of the chart kube-fledged"
		flags = fledgedValues(doc.root, row)
	case fledgedOperated:
		doc.root.Done("apiVersion", "kind", "metadata", "status")
		row.Note("part of kube-fledged itself: it has no counterpart, and goes with it")
		flags = fledgedValues(doc.root.Object("spec"), row)
	default:
		flags, found = fledgedArguments(doc)
		withoutResult(doc, row, "kube-fledged")
	}
	switch {
	case !found:
	case s.from != nil:
		row.Note("its flags are not used: those of %s are", s.from.Source)
	default:
		s.from = row
		s.readFlags(flags, row)
	}
}

// fledgedArguments are the flags in a Deployment, and whether it is the controller's at all.
func fledgedArguments(doc *Document) (flags []fledgedFlag, found bool) {
	if doc.Kind() != "Deployment" {
		return nil, false
	}
	for _, container := range doc.objectsAt("spec", "template", "spec", "containers") {
		words := append(container.Texts("command"), container.Texts("args")...)
		image, _ := container.peek("image")
		if !strings.Contains(image+strings.Join(words, " "), "kubefledged-controller") {
			continue
		}
		found = true
		for i := 0; i < len(words); i++ {
			if !strings.HasPrefix(words[i], "-") {
				continue
			}
			name, value, joined := strings.Cut("--"+strings.TrimLeft(words[i], "-"), "=")
			if !joined && i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
				i++
				value = words[i]
			}
			flags = append(flags, fledgedFlag{name: name, value: value, said: name, key: "args", at: container})
		}
	}
	return flags, found
}

func (s *fledgedSettings) readFlags(flags []fledgedFlag, row *Row) {
	var used, without []string
	for _, flag := range flags {
		switch {
		case s.use(flag):
			used = append(used, flag.said)
		case flag.name == "--image-pull-deadline-duration":
			row.Note("%s bounds all pulls of a cache together; what bounds each pull here is agent.pullTimeout of Orlop's chart, 30m unless set", flag.said)
		default:
			without = append(without, flag.said)
		}
	}
	if len(used) > 0 {
		row.Note("used for the caches: %s", strings.Join(used, ", "))
	}
	if len(without) > 0 {
		row.Note("without a counterpart, as there are no Jobs that pull: %s", strings.Join(without, ", "))
	}
}

// use reports whether a flag says something of the caches.
func (s *fledgedSettings) use(flag fledgedFlag) bool {
	switch value := flag.value; flag.name {
	case "--image-cache-refresh-frequency":
		s.refreshEvery(flag)
	case "--image-pull-policy":
		s.always = value == "Always"
		s.odd = value != "Always" && value != "IfNotPresent" && value != ""
	case "--service-account-name":
		s.account = value
	case "--jobs-max-surge":
		if value == "0" || value == "" {
			return false
		}
		if !wholeNumber.MatchString(value) {
			flag.fail("is not a whole number")
			return false
		}
		surge := intstr.Parse(value)
		s.surge = &surge
	default:
		return false
	}
	return true
}

var (
	wholeNumber = regexp.MustCompile(`^[1-9][0-9]{0,8}$`)
	// plainSpan is what refreshInterval takes.
	plainSpan = regexp.MustCompile(`^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$`)
)

func (s *fledgedSettings) refreshEvery(flag fledgedFlag) {
	span, err := time.ParseDuration(flag.value)
	switch {
	case err != nil || span < 0 || span > mostRefresh:
		flag.fail("is not a time span such as 15m")
	case span > 0 && span < leastRefresh:
		s.refresh = leastRefresh.String()
		s.note = "kube-fledged refreshes every " + flag.value + "; registries are not asked more often than every 10s here."
	case span == 0:
		s.refresh = "0s"
	case plainSpan.MatchString(flag.value) && len(flag.value) <= 32:
		s.refresh = flag.value
	default:
		s.refresh = span.String()
	}
}
