// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	validationutil "k8s.io/apimachinery/pkg/util/validation"

	"orlop.dev/orlop/internal/operator"
	"orlop.dev/orlop/internal/suggest"
	"orlop.dev/orlop/internal/term"
)

// namespaced is for commands about ImageCaches, which unlike nodes have a namespace.
type namespaced struct{ namespace string }

func (n *namespaced) add(flags *pflag.FlagSet) {
	flags.StringVarP(&n.namespace, "namespace", "n", "", "the `namespace` of the ImageCache; unset is that of the context")
}

// of is the namespace as given, else the context's.
func (n *namespaced) of(a *app) (string, error) {
	if n.namespace != "" {
		return n.namespace, nil
	}
	namespace, _, err := a.conn.ToRawKubeConfigLoader().Namespace()
	return namespace, err
}

// cacheKinds are the words that stand for the kind.
var cacheKinds = []string{"imagecache", "imagecaches", "ic", "cache", "imagecache.orlop.dev", "imagecaches.orlop.dev"}

// cacheName reads imagecache/web, ic/web, imagecache web; bare: a name without a kind will do.
func cacheName(args []string, bare bool) (string, error) {
	if len(args) > 2 || len(args) == 2 && strings.Contains(args[0], "/") {
		return "", fmt.Errorf("one ImageCache at a time, not also %q", args[len(args)-1])
	}
	text := strings.Join(args, "/")
	kind, name, found := strings.Cut(text, "/")
	if !found && bare {
		kind, name = cacheKinds[0], text
	}
	known := false
	for _, word := range cacheKinds {
		known = known || strings.EqualFold(word, kind)
	}
	switch {
	case !found && !bare && known:
		return "", fmt.Errorf("which ImageCache? write imagecache/NAME")
	case !found && !bare:
		return "", fmt.Errorf("%q: write imagecache/%s for an ImageCache", text, text)
	case !known:
		return "", fmt.Errorf("%q is not a kind that has a status here%s; write imagecache/NAME", kind, suggest.DidYouMean(kind, cacheKinds))
	}
	switch wrong := validation.NameIsDNSSubdomain(name, false); {
	case len(name) > validationutil.DNS1123SubdomainMaxLength:
		return "", fmt.Errorf("the name of an ImageCache has at most %d characters, not %d", validationutil.DNS1123SubdomainMaxLength, len(name))
	case len(wrong) > 0:
		return "", fmt.Errorf("%q is not the name of an ImageCache: it must be of a-z, 0-9, - and ., and begin and end with a letter or digit", name)
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
	if !apierrors.IsNotFound(err) {
		return err
	}
	all, listErr := op.Caches(ctx, "")
	if listErr != nil {
		return err
	}
	var here, elsewhere []string
	for i := range all {
		switch {
		case all[i].Namespace == namespace:
			here = append(here, all[i].Name)
		case all[i].Name == name:
			elsewhere = append(elsewhere, all[i].Namespace)
		}
	}
	if len(elsewhere) > 0 {
		return advised{fmt.Errorf("ImageCache %s does not exist in namespace %s, but in %s", name, namespace, some(elsewhere)),
			term.CommandLine(append(a.words, "-n", elsewhere[0])...)}
	}
	return advised{fmt.Errorf("ImageCache %s does not exist in namespace %s%s", name, namespace, suggest.DidYouMean(name, here)), "kubectl get imagecaches --all-namespaces"}
}

// completeCaches gives the names of ImageCaches; before stands in front of each.
func (a *app) completeCaches(n *namespaced, before string) cobra.CompletionFunc {
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
				all, _ := op.Caches(ctx, namespace) // A person at Tab wants names or nothing.
				for i := range all {
					names = append(names, before+all[i].Name)
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
