// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/types"
	validationutil "k8s.io/apimachinery/pkg/util/validation"

	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/suggest"
	"orlop.dev/orlop/internal/term"
)

// namespaced is for commands about objects that unlike nodes have a namespace.
type namespaced struct{ namespace string }

func (n *namespaced) add(flags *pflag.FlagSet) {
	flags.StringVarP(&n.namespace, "namespace", "n", "", "the `namespace`; unset: that of the context")
}

// of is the namespace as given, else the context's.
func (n *namespaced) of(a *app) (string, error) {
	if n.namespace != "" {
		return n.namespace, nil
	}
	namespace, _, err := a.conn.ToRawKubeConfigLoader().Namespace()
	return namespace, err
}

// kind is one of Orlop's kinds that have names in a namespace, with the words that stand for it.
type kind struct {
	title, article string
	words          []string
	longest        int
}

var (
	cacheKind = kind{"ImageCache", "an", []string{"imagecache", "imagecaches", "ic", "cache", "imagecache.orlop.dev", "imagecaches.orlop.dev"}, validationutil.DNS1123SubdomainMaxLength}
	jobKind   = kind{"NodeJob", "a", []string{"nodejob", "nodejobs", "nj", "job", "nodejob.orlop.dev", "nodejobs.orlop.dev"}, 63}
	cronKind  = kind{"NodeCronJob", "a", []string{"nodecronjob", "nodecronjobs", "ncj", "cron", "cronjob", "nodecronjob.orlop.dev", "nodecronjobs.orlop.dev"}, 52}
)

func (k kind) is(word string) bool {
	return slices.ContainsFunc(k.words, func(known string) bool { return strings.EqualFold(known, word) })
}

// cacheName reads imagecache/web, ic/web, imagecache web; bare: a name without a kind will do.
func cacheName(args []string, bare bool) (string, error) { return cacheKind.name(args, bare) }

// name reads the name of an object of the kind, such as nj/rm-x7k2p or nodejob rm-x7k2p; bare: a name without a kind will do.
func (k kind) name(args []string, bare bool) (string, error) {
	if len(args) > 2 || len(args) == 2 && strings.Contains(args[0], "/") {
		return "", fmt.Errorf("one %s at a time, not also %q", k.title, args[len(args)-1])
	}
	text := strings.Join(args, "/")
	word, name, found := strings.Cut(text, "/")
	if !found && bare {
		word, name = k.words[0], text
	}
	switch {
	case !found && !bare && k.is(word):
		return "", fmt.Errorf("which %s? write %s/NAME", k.title, k.words[0])
	case !found && !bare:
		return "", fmt.Errorf("%q: write %s/%s for %s %s", text, k.words[0], text, k.article, k.title)
	case !k.is(word):
		return "", fmt.Errorf("%q is not a kind that is known here%s; write %s/NAME, %s/NAME or %s/NAME", word, suggest.DidYouMean(word, k.words), cacheKind.words[0], jobKind.words[0], cronKind.words[0])
	}
	switch wrong := validation.NameIsDNSSubdomain(name, false); {
	case len(name) > k.longest:
		return "", fmt.Errorf("the name of %s %s has at most %d characters, not %d", k.article, k.title, k.longest, len(name))
	case len(wrong) > 0:
		return "", fmt.Errorf("%q is not the name of %s %s: it must be of a-z, 0-9, - and ., and begin and end with a letter or digit", name, k.article, k.title)
	}
	return name, nil
}

// cacheNames reads the names of several.
func cacheNames(args []string) ([]string, error) {
	var names []string
	for _, arg := range args {
		name, err := cacheName([]string{arg}, true)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, errors.New("name at least one ImageCache")
	}
	return names, nil
}

// unknownCache adds to "not found" which ImageCaches there are.
func (a *app) unknownCache(ctx context.Context, op *operator.Client, namespace, name string, err error) error {
	return a.unknown(ctx, op, cacheKind, namespace, name, err)
}

// unknown adds to "not found" which objects of the kind there are.
func (a *app) unknown(ctx context.Context, op *operator.Client, k kind, namespace, name string, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	all, listErr := namesOfKind(ctx, op, k, "")
	if listErr != nil {
		return err
	}
	var here, elsewhere []string
	for _, one := range all {
		switch {
		case one.Namespace == namespace:
			here = append(here, one.Name)
		case one.Name == name:
			elsewhere = append(elsewhere, one.Namespace)
		}
	}
	if len(elsewhere) > 0 {
		return advised{fmt.Errorf("%s %s does not exist in namespace %s, but does in %s", k.title, name, namespace, some(elsewhere)),
			term.CommandLine(append(a.words, "-n", elsewhere[0])...)}
	}
	return advised{fmt.Errorf("%s %s does not exist in namespace %s%s", k.title, name, namespace, suggest.DidYouMean(name, here)), "kubectl get " + k.words[1] + " --all-namespaces"}
}

// namesOfKind are the objects of a kind in a namespace, or in all.
func namesOfKind(ctx context.Context, op *operator.Client, k kind, namespace string) (names []types.NamespacedName, err error) {
	switch k.title {
	case jobKind.title:
		all, err := op.Jobs(ctx, namespace, "")
		for i := range all {
			names = append(names, types.NamespacedName{Namespace: all[i].Namespace, Name: all[i].Name})
		}
		return names, err
	case cronKind.title:
		all, err := op.CronJobs(ctx, namespace)
		for i := range all {
			names = append(names, types.NamespacedName{Namespace: all[i].Namespace, Name: all[i].Name})
		}
		return names, err
	}
	all, err := op.Caches(ctx, namespace)
	for i := range all {
		names = append(names, types.NamespacedName{Namespace: all[i].Namespace, Name: all[i].Name})
	}
	return names, err
}

// completeCaches gives the names of ImageCaches; before stands in front of each.
func (a *app) completeCaches(n *namespaced, before string) cobra.CompletionFunc {
	return a.completeKinds(n, map[string]kind{before: cacheKind})
}

// completeKinds gives the names of objects, by what stands in front of each.
func (a *app) completeKinds(n *namespaced, kinds map[string]kind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, completeTimeout)
		defer cancel()
		var names []string
		if op, err := a.installed(ctx); err == nil && op != nil {
			if namespace, err := n.of(a); err == nil {
				for before, k := range kinds {
					all, _ := namesOfKind(ctx, op, k, namespace) // A person at Tab wants names or nothing.
					for _, one := range all {
						names = append(names, before+one.Name)
					}
				}
				slices.Sort(names)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
