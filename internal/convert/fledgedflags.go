// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"regexp"
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
	// seen is the document they are from; nil where there is none.
	seen    *Document
	refresh string
	// always and odd are --image-pull-policy: Always, and what is neither that nor IfNotPresent, which kube-fledged takes for the
	// latter, :latest included.
	always, odd bool
	account     string
	surge       *intstr.IntOrString
	// note is what is to be looked at about refreshInterval.
	note string
}

// interval is the refreshInterval.
func (s *fledgedSettings) interval() string {
	if s.seen == nil {
		s.note = "15m is kube-fledged's default. The Deployment of its controller was not among what was converted: where that sets " +
			"--image-cache-refresh-frequency or --image-pull-policy, set this and imagePullPolicy alike."
	}
	if s.refresh == "" {
		return fledgedRefresh
	}
	return s.refresh
}

// readPart reads an object of kube-fledged's own manifests.
func (s *fledgedSettings) readPart(doc *Document, row *Row) {
	controllers := doc.objectsAt("spec", "template", "spec", "containers")
	withoutResult(doc, row, "kube-fledged")
	if doc.Kind() == "KubeFledged" {
		row.Note("the flags that its spec sets are not read: compare refreshInterval and imagePullPolicy of what is written")
	}
	if doc.Kind() != "Deployment" {
		return
	}
	for _, container := range controllers {
		words := append(container.Texts("command"), container.Texts("args")...)
		image, _ := container.peek("image")
		if !strings.Contains(image+strings.Join(words, " "), "kubefledged-controller") {
			continue
		}
		if s.seen != nil {
			row.Note("its flags are not used: those of %s are", s.seen.Title())
			continue
		}
		s.seen = doc
		s.readFlags(container, words, row)
	}
}

func (s *fledgedSettings) readFlags(container *Fields, words []string, row *Row) {
	var used, without []string
	for i := 0; i < len(words); i++ {
		if !strings.HasPrefix(words[i], "-") {
			continue
		}
		name, value, joined := strings.Cut("--"+strings.TrimLeft(words[i], "-"), "=")
		if !joined && i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
			i++
			value = words[i]
		}
		switch {
		case s.use(container, name, value):
			used = append(used, name)
		case name == "--image-pull-deadline-duration":
			row.Note("%s bounds all pulls of a cache together; what bounds each pull here is agent.pullTimeout of Orlop's chart, 30m unless set", name)
		default:
			without = append(without, name)
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
func (s *fledgedSettings) use(container *Fields, name, value string) bool {
	switch name {
	case "--image-cache-refresh-frequency":
		s.refreshEvery(container, value)
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
			container.Fail("args", "%s is not a whole number: %q", name, value)
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

func (s *fledgedSettings) refreshEvery(container *Fields, value string) {
	span, err := time.ParseDuration(value)
	switch {
	case err != nil || span < 0 || span > mostRefresh:
		container.Fail("args", "--image-cache-refresh-frequency is not a time span such as 15m: %q", value)
	case span > 0 && span < leastRefresh:
		s.refresh = leastRefresh.String()
		s.note = "kube-fledged refreshes every " + value + "; registries are not asked more often than every 10s here."
	case span == 0:
		s.refresh = "0s"
	case plainSpan.MatchString(value) && len(value) <= 32:
		s.refresh = value
	default:
		s.refresh = span.String()
	}
}
