// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// definition is what the reference takes from a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Scope string
		Names struct {
			Kind, Plural string
			ShortNames   []string
		}
		Versions []struct {
			Name                     string
			AdditionalPrinterColumns []struct {
				Name, Description string
				Priority          int
			}
			Schema struct{ OpenAPIV3Schema schema }
		}
	}
}

// schema is what the API server holds an object against.
type schema struct {
	Description, Type, Format string
	Properties                map[string]schema
	Items                     *schema
	AdditionalProperties      *schema
	Required                  []string
	Default                   json.RawMessage
	Enum                      []any
	MinItems, MaxItems        *int
	MinLength, MaxLength      *int
	MaxProperties             *int
	Minimum, Maximum          *int
	IntOrString               bool `json:"x-kubernetes-int-or-string"`
	Validations               []struct {
		Message string
	} `json:"x-kubernetes-validations"`
}

// written is the order of the kinds: what people write comes first.
var written = []string{"imagecaches", "nodejobs", "nodecronjobs", "imagestores", "imageinventories"}

// elsewhere are fields that others describe.
var elsewhere = map[string]string{
	"template":    "See Kubernetes' PodTemplateSpec.",
	"affinity":    "See a Pod's nodeAffinity; terms that are only preferred are not taken.",
	"tolerations": "See a Pod's tolerations.",
	"conditions":  "See Kubernetes' Condition: type, status, reason, message, lastTransitionTime, observedGeneration.",
	"jobTemplate": "Its metadata (labels, annotations) and [the spec of a NodeJob](#nodejob).",
}

// kinds is the reference of the API, from the definitions that the chart installs.
func kinds(t *testing.T) string {
	p := &page{}
	p.lines("# API", "", "Made from the definitions in charts/orlop/files/crds by `make docs`. What the kinds are for, with examples: [kinds](../kinds/imagecache.md).", "")
	for _, plural := range written {
		text, err := os.ReadFile(filepath.Join("../../charts/orlop/files/crds", "orlop.dev_"+plural+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var d definition
		if err := yaml.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		p.kind(d)
	}
	return strings.TrimRight(p.String(), "\n") + "\n"
}

func (p *page) kind(d definition) {
	names, version := d.Spec.Names, d.Spec.Versions[0]
	p.lines("## "+names.Kind, "")
	p.prose("", plain.Replace(version.Schema.OpenAPIV3Schema.Description))
	short := ""
	if len(names.ShortNames) > 0 {
		short = ", short: " + strings.Join(names.ShortNames, ", ")
	}
	p.lines("", fmt.Sprintf("`orlop.dev/%s`, %s%s", version.Name, map[string]string{"Namespaced": "in a namespace", "Cluster": "without a namespace"}[d.Spec.Scope], short), "")
	var columns, wide []string
	for _, column := range version.AdditionalPrinterColumns {
		if column.Priority > 0 {
			wide = append(wide, column.Name)
		} else {
			columns = append(columns, column.Name)
		}
	}
	shown := fmt.Sprintf("`kubectl get %s` shows %s", names.Plural, strings.Join(columns, ", "))
	if len(wide) > 0 {
		shown += "; with `-o wide` also " + strings.Join(wide, ", ")
	}
	p.prose("", shown+".")
	p.lines("")
	for _, part := range []string{"spec", "status"} {
		s, ok := version.Schema.OpenAPIV3Schema.Properties[part]
		if !ok {
			continue
		}
		p.lines("### "+names.Kind+" "+part, "")
		if s.Description != "" {
			p.prose("", plain.Replace(s.Description))
			p.lines("")
		}
		p.fields("", s)
		p.lines("")
	}
}

// fields writes those of an object, and what is in them.
func (p *page) fields(indent string, s schema) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[name]
		inner := field
		if field.Items != nil {
			inner = *field.Items
		}
		words := plain.Replace(cmp.Or(field.Description, inner.Description))
		end := ""
		if words != "" {
			end = `\` // A new line, without a new paragraph.
		}
		p.lines(fmt.Sprintf("%s- **`%s`** %s%s", indent, name, strings.Join(limits(field, slices.Contains(s.Required, name)), ", "), end))
		p.prose(indent+"  ", words)
		for _, rule := range slices.Concat(field.Validations, inner.Validations) {
			p.prose(indent+"  ", plain.Replace(strings.TrimSuffix("Rule: "+rule.Message, "Rule: ")))
		}
		if words, known := elsewhere[name]; known {
			p.prose(indent+"  ", words)
			continue
		}
		p.fields(indent+"  ", inner)
	}
}

// limits is a field's type and what else its value must be.
func limits(s schema, required bool) []string {
	all := []string{typeOf(s)}
	if required {
		all = append(all, "required")
	}
	bound := func(format string, n *int) {
		if n != nil {
			all = append(all, fmt.Sprintf(format, *n))
		}
	}
	bound("at least %d", s.MinItems)
	bound("at most %d", s.MaxItems)
	bound("at most %d", s.MaxProperties)
	bound("from %d", s.Minimum)
	bound("to %d", s.Maximum)
	if s.MinLength != nil && *s.MinLength > 0 {
		all = append(all, "not empty")
	}
	bound("at most %d characters", s.MaxLength)
	if len(s.Enum) > 0 {
		var words []string
		for _, value := range s.Enum {
			words = append(words, fmt.Sprintf("`%v`", value))
		}
		all = append(all, "one of "+strings.Join(words, ", "))
	}
	if len(s.Default) > 0 {
		all = append(all, fmt.Sprintf("default `%s`", s.Default))
	}
	return all
}

func typeOf(s schema) string {
	switch {
	case s.IntOrString:
		return "number or string"
	case s.Items != nil:
		return "list of " + typeOf(*s.Items) + "s"
	case s.AdditionalProperties != nil:
		return "map of " + typeOf(*s.AdditionalProperties) + "s"
	case s.Format == "date-time":
		return "time"
	}
	return s.Type
}
