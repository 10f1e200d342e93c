// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"orlop.dev/orlop/internal/oci"
)

// deed is what one command does to the images of a node.
type deed struct {
	// remove are images by name; empty for one that prunes.
	remove []string
	// force is what the runtime calls so.
	force bool
	// whole: the command takes an image with all its names, where Orlop takes the name alone.
	whole bool
	// dangling: it prunes only images without a name.
	dangling bool
	// said is what else is to be told of it.
	said string
}

// deedOf reads a command that removes images, in the literal forms that people write.
func deedOf(argv []string) (deed, bool) {
	switch path.Base(argv[0]) {
	case "curl":
		return curlDeed(argv[1:])
	case "docker", "nerdctl", "podman":
		return dockerDeed(argv[1:])
	case "crictl":
		return crictlDeed(argv[1:])
	case "ctr":
		return ctrDeed(argv[1:])
	}
	return deed{}, false
}

// flags takes options apart from what else stands in a command. Those in valued take the next word.
func flags(argv, valued []string) (options map[string]string, rest []string) {
	options = map[string]string{}
	for i := 0; i < len(argv); i++ {
		arg := argv[i]
		name, value, has := strings.Cut(arg, "=")
		switch {
		case !strings.HasPrefix(arg, "-") || arg == "-":
			rest = append(rest, arg)
		case slices.Contains(valued, name) && !has && i+1 < len(argv):
			i++
			options[name] = argv[i]
		default:
			options[name] = value
		}
	}
	return options, rest
}

// global splits a command line at its first word that is no option.
func global(argv, valued []string) (rest []string) {
	for i := 0; i < len(argv); i++ {
		if !strings.HasPrefix(argv[i], "-") {
			return argv[i:]
		}
		if slices.Contains(valued, argv[i]) {
			i++
		}
	}
	return nil
}

// only reports whether no other options are given.
func only(options map[string]string, known ...string) bool {
	for name := range options {
		if !slices.Contains(known, name) {
			return false
		}
	}
	return true
}

// removes is a deed on these images; none, or one that cannot be read, is no plain command.
func removes(names []string, d deed) (deed, bool) {
	for _, name := range names {
		if _, err := oci.ParseTarget(name); err != nil || strings.ContainsAny(name, "*?") {
			return deed{}, false
		}
	}
	d.remove = names
	return d, len(names) > 0
}

func dockerDeed(argv []string) (deed, bool) {
	argv = global(argv, []string{"-H", "--host", "-n", "--namespace", "-a", "--address", "--context", "-c"})
	if len(argv) == 0 {
		return deed{}, false
	}
	verb, rest := argv[0], argv[1:]
	if (verb == "image" || verb == "images" || verb == "system") && len(rest) > 0 {
		verb, rest = verb+" "+rest[0], rest[1:]
	}
	options, names := flags(rest, nil)
	_, short := options["-f"]
	_, long := options["--force"]
	switch verb {
	case "rmi", "image rm", "image remove":
		if !only(options, "-f", "--force") {
			return deed{}, false
		}
		return removes(names, deed{force: short || long})
	case "image prune", "system prune":
		if len(names) > 0 || !only(options, "-f", "--force", "-a", "--all", "-af", "-fa") {
			return deed{}, false
		}
		d := deed{dangling: !slices.ContainsFunc([]string{"-a", "--all", "-af", "-fa"}, func(o string) bool { _, ok := options[o]; return ok })}
		if verb == "system prune" {
			d.said = "system prune also removed stopped containers, networks and build caches, which Orlop leaves alone"
		}
		return d, true
	}
	return deed{}, false
}

func crictlDeed(argv []string) (deed, bool) {
	argv = global(argv, []string{"-r", "--runtime-endpoint", "-i", "--image-endpoint", "-t", "--timeout", "-c", "--config"})
	if len(argv) == 0 || argv[0] != "rmi" {
		return deed{}, false
	}
	options, names := flags(argv[1:], nil)
	_, all := options["--all"]
	_, short := options["-a"]
	_, prune := options["--prune"]
	_, quick := options["-q"]
	switch {
	case (prune || quick) && len(names) == 0 && only(options, "--prune", "-q"):
		return deed{}, true
	case (all || short) && len(names) == 0 && only(options, "--all", "-a"):
		return deed{said: "crictl rmi --all tries every image, those in use too: Orlop leaves what is needed"}, true
	case len(options) == 0:
		return removes(names, deed{whole: true})
	}
	return deed{}, false
}

func ctrDeed(argv []string) (deed, bool) {
	argv = global(argv, []string{"-n", "--namespace", "-a", "--address", "--timeout", "--connect-timeout"})
	if len(argv) < 2 || !slices.Contains([]string{"images", "image", "i"}, argv[0]) {
		return deed{}, false
	}
	options, names := flags(argv[2:], nil)
	_, all := options["--all"]
	switch {
	case slices.Contains([]string{"rm", "remove", "del", "delete"}, argv[1]) && only(options, "--sync"):
		return removes(names, deed{})
	case argv[1] == "prune" && all && len(names) == 0 && only(options, "--all"):
		return deed{}, true
	}
	return deed{}, false
}

// curlValued are curl's options with a value, as far as they are met with.
var curlValued = []string{"--unix-socket", "-X", "--request", "-H", "--header", "-o", "--output", "-m", "--max-time", "--retry", "--connect-timeout", "-w"}

// imagePath is the Docker Engine's address of an image.
var imagePath = regexp.MustCompile(`^(?:https?:/{1,2})?[^/]*(?:/v[0-9.]+)?/images/([^?]+)(?:\?(.*))?$`)

func curlDeed(argv []string) (deed, bool) {
	var spread []string
	for _, arg := range argv {
		if method, ok := strings.CutPrefix(arg, "-X"); ok && method != "" {
			spread = append(spread, "-X", method)
			continue
		}
		spread = append(spread, arg)
	}
	options, urls := flags(spread, curlValued)
	method := options["-X"] + options["--request"]
	if options["--unix-socket"] == "" || len(urls) != 1 {
		return deed{}, false
	}
	found := imagePath.FindStringSubmatch(urls[0])
	if found == nil {
		return deed{}, false
	}
	query, err := url.ParseQuery(found[2])
	if err != nil {
		return deed{}, false
	}
	if method == "POST" && found[1] == "prune" {
		return dockerPrune(query)
	}
	name, err := url.PathUnescape(found[1])
	if err != nil || method != "DELETE" {
		return deed{}, false
	}
	return removes([]string{name}, deed{force: query.Get("force") == "true" || query.Get("force") == "1"})
}

// dockerPrune takes images without a name only, unless its filter says dangling=false.
func dockerPrune(query url.Values) (deed, bool) {
	switch strings.ReplaceAll(query.Get("filters"), " ", "") {
	case "", `{"dangling":["true"]}`, `{"dangling":{"true":true}}`, `{"dangling":["1"]}`:
		return deed{dangling: true}, true
	case `{"dangling":["false"]}`, `{"dangling":{"false":true}}`, `{"dangling":["0"]}`:
		return deed{}, true
	}
	return deed{}, false
}
