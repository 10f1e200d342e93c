// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// rightsRow is a line of the table in the page on security, without its last column, which says what for.
var rightsRow = regexp.MustCompile("(?m)^(\\| `orlop-[a-z]+` \\| (?:cluster|orlop-system) \\| [^|]+ \\| [^|]+ \\|)[^|]+\\|$")

// The page names every right that is given, and none that is not.
func TestThePageOnSecurityNamesEveryRight(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, row := range rightsRow.FindAllStringSubmatch(string(page), -1) {
		told = append(told, row[1])
	}
	rendered := scenarios["defaults"].render(t)
	var given []string
	for _, o := range parsed(t, slices.Concat(rendered.Objects, rendered.Hooks)) {
		switch role := o.(type) {
		case *rbacv1.ClusterRole:
			given = append(given, rows(role.Name, "cluster", role.Rules)...)
		case *rbacv1.Role:
			given = append(given, rows(role.Name, "orlop-system", role.Rules)...)
		}
	}
	slices.Sort(told)
	slices.Sort(given)
	if diff := cmp.Diff(given, told); diff != "" {
		t.Errorf("docs/security.md, every right that the chart gives (-given +told):\n%s", diff)
	}
}

func rows(role, where string, rules []rbacv1.PolicyRule) (all []string) {
	for _, rule := range rules {
		var on []string
		for _, resource := range rule.Resources {
			what := "`" + resource + groupOf(rule) + "`"
			if len(rule.ResourceNames) > 0 {
				what += " of `" + strings.Join(rule.ResourceNames, "`, `") + "`"
			}
			on = append(on, what)
		}
		all = append(all, fmt.Sprintf("| `%s` | %s | %s | %s |", role, where, strings.Join(rule.Verbs, ", "), strings.Join(on, ", ")))
	}
	return all
}

// groupOf is left out where no name is in doubt: of Kubernetes' core and of our own kinds.
func groupOf(rule rbacv1.PolicyRule) string {
	if group := rule.APIGroups[0]; group != "" && group != "orlop.dev" {
		return "." + group
	}
	return ""
}
