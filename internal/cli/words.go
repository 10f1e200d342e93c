// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"strings"

	"orlop.dev/orlop/api/v1alpha1"
	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/term"
)

// commandLine is a command of this program for the same cluster, as a person would type it.
func (a *app) commandLine(words ...string) string {
	return a.here(append(strings.Fields(a.program), words...)...)
}

// here is a command line for the same cluster, by the flag that kubectl has for it.
func (a *app) here(words ...string) string {
	if context := *a.conn.Context; context != "" {
		words = append(words, "--context", context)
	}
	return term.CommandLine(words...)
}

// alsoHere makes the commands of kubectl in an advice commands for the same cluster.
func (a *app) alsoHere(advice string) string {
	context := *a.conn.Context
	if context == "" || strings.Contains(advice, "--context") || strings.Contains(advice, "kubectl config") {
		return advice
	}
	here := term.CommandLine("kubectl", "--context", context) + " "
	return strings.ReplaceAll(strings.ReplaceAll(advice, "kubectl ", here), here+"orlop", "kubectl orlop")
}

// cleanupLine removes the pods of this run.
func (a *app) cleanupLine(f *fleet.Fleet) string {
	words := []string{"cleanup", "--run", f.RunID()}
	if f.Namespace() != fleet.DefaultNamespace {
		words = append(words, "--agent-namespace", f.Namespace())
	}
	return a.commandLine(words...)
}

// see and cancel are how a NodeJob is followed, and ended, by a person.
func (a *app) see(job *v1alpha1.NodeJob) string {
	return a.commandLine("job", "list", job.Name, "-n", job.Namespace)
}

func (a *app) cancel(job *v1alpha1.NodeJob) string {
	return a.here("kubectl", "delete", "nodejob", job.Name, "-n", job.Namespace)
}

// again is this command line for some nodes only, and without the arguments that need not be repeated.
func (a *app) again(nodes []string, done ...string) string {
	var words []string
	first := len(strings.Fields(a.program)) + 1 // the first word behind the command
	for i := 0; i < len(a.words); i++ {
		word := a.words[i]
		switch {
		case word == "--node":
			i++
		case strings.HasPrefix(word, "--node="):
		case i >= first && slices.Contains(done, word) && !strings.HasPrefix(a.words[i-1], "-"): // Behind a flag it may be that one's value.
		default:
			words = append(words, word)
		}
	}
	return term.CommandLine(append(words, "--node", strings.Join(nodes, ","))...)
}

// without is this command line without a flag.
func (a *app) without(flag string) string {
	var words []string
	for _, word := range a.words {
		if word != flag && !strings.HasPrefix(word, flag+"=") {
			words = append(words, word)
		}
	}
	return term.CommandLine(words...)
}

// with is this command line with one more flag.
func (a *app) with(flag string) string {
	return term.CommandLine(append(slices.Clone(a.words), flag)...)
}
