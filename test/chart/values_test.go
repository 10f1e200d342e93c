// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// A value that does nothing is refused, with its name.
func TestSchemaRefuses(t *testing.T) {
	for label, c := range map[string]struct{ values, want string }{
		"a typo":                      {`registrys: x`, "registrys"},
		"a typo below":                {`agent: {maxParalelPulls: 3}`, "maxParalelPulls"},
		"a typo in a pool":            {`runtimes: [{name: a, nodeSelector: {a: b}, socket: /run/a.sock, nodeselector: {}}]`, "nodeselector"},
		"a pool without selector":     {`runtimes: [{name: a, socket: /run/a.sock}]`, "nodeSelector"},
		"a pool of every node":        {`runtimes: [{name: a, nodeSelector: {}, socket: /run/a.sock}]`, "nodeSelector"},
		"a pool with the usual name":  {`runtimes: [{name: default, nodeSelector: {a: b}, socket: /run/a.sock}]`, "name"},
		"a socket without its folder": {`runtimes: [{name: a, nodeSelector: {a: b}, socket: containerd.sock}]`, "socket"},
		"a percentage over all":       {`agent: {diskLimit: 101}`, "diskLimit"},
		"a duration without unit":     {`agent: {pullTimeout: "30"}`, "pullTimeout"},
		"a word for a number":         {`controller: {replicas: two}`, "replicas"},
		"all agents at once, badly":   {`agent: {maxUnavailable: "0%"}`, "maxUnavailable"},
		"a memory that is none":       {`agent: {resources: {limits: {memory: 128MB}}}`, "memory"},
		"no certificate":              {`registryCA: /etc/ca.crt`, "registryCA"},
		"a toleration's typo":         {`controller: {tolerations: [{keys: a}]}`, "keys"},
		"a pull policy":               {`image: {pullPolicy: always}`, "pullPolicy"},
	} {
		t.Run(label, func(t *testing.T) {
			_, err := scenario{values: c.values}.try()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want a refusal that names %s, got %v", c.want, err)
			}
		})
	}
}

// Every value has its place in the schema, and every place refuses what it does not know.
func TestSchemaIsWhole(t *testing.T) {
	var values, schema map[string]any
	data, err := os.ReadFile(folder + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile(folder + "/values.schema.json"); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	covered(t, "", values, schema, schema)
}

func covered(t *testing.T, path string, values, schema, whole map[string]any) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		schema = at(whole, strings.ReplaceAll(strings.TrimPrefix(ref, "#/"), "/", ".")).(map[string]any)
	}
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return // A map of the user's own keys.
	}
	if schema["additionalProperties"] != false {
		t.Errorf("%s takes what it does not know", path)
	}
	for key, value := range values {
		sub, ok := properties[key].(map[string]any)
		if !ok {
			t.Errorf("%s.%s is not in the schema", path, key)
			continue
		}
		if below, ok := value.(map[string]any); ok {
			covered(t, path+"."+key, below, sub, whole)
		}
	}
	for key := range properties {
		if _, ok := values[key]; !ok && path+"."+key != ".global" && !strings.Contains(path, "resources") {
			t.Errorf("%s.%s is in the schema and has no default", path, key)
		}
	}
}

// Above each value stands what it is for. A group of values needs no words of its own.
func TestValuesAreCommented(t *testing.T) {
	data, err := os.ReadFile(folder + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	checked := 0
	for i, line := range lines[:len(lines)-1] {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		isKey := strings.TrimSpace(line) != "" && !strings.HasPrefix(line[indent:], "#") && !strings.HasPrefix(line[indent:], "-") && indent <= 2
		isGroup := indent == 0 && strings.HasSuffix(line, ":")
		if !isKey || isGroup {
			continue
		}
		checked++
		if i == 0 || !strings.HasPrefix(strings.TrimSpace(lines[i-1]), "#") {
			t.Errorf("line %d, %q, has no comment above", i+1, line)
		}
	}
	if checked < 35 {
		t.Errorf("only %d values were looked at", checked)
	}
}
