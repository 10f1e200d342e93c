// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/internal/convert"
	"orlop.dev/orlop/internal/term"
)

type convertOptions struct {
	*app
	namespaced
	files       []string
	recursive   bool
	fromCluster bool
	all         bool
	format      string
}

var convertFormats = []string{"yaml", "json"}

func (a *app) convertCommand() *cobra.Command {
	o := &convertOptions{app: a}
	cmd := &cobra.Command{
		Use: "convert -f FILE… | --from-cluster", GroupID: groupDeclare, Short: "Turn objects of kube-fledged, Kruise, Eraser and others into Orlop's",
		Long: `Turn what you run today for the images on your nodes into Orlop's objects. It understands the objects and settings of
` + strings.Join(convert.Systems(), ", ") + `. Nothing is changed in the cluster.

The objects go to standard output, with a comment "# REVIEW" above each field whose meaning is not quite what it was. A table on
standard error says what became of each object, and what was left out. If anything cannot be read, nothing is written, and every
such place is named.`,
		Example: a.examples(`
			{} convert -f imagecache.yaml > orlop.yaml
			{} convert -f kube-fledged/ -R -n images
			helm get values image-puller -n k8s-image-puller --all | {} convert -f - -n k8s-image-puller
			helm get values kube-fledged -n kube-fledged --all | {} convert -f - -f imagecache.yaml
			{} convert --from-cluster --all-namespaces > orlop.yaml`),
		Args: a.noArgs(": name files with -f"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError{err, a.program + " convert --help"}
			}
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&o.files, "filename", "f", nil, "a `file` or folder of YAML or JSON, or - for standard input; may be repeated")
	flags.BoolVarP(&o.recursive, "recursive", "R", false, "read folders with everything below them")
	flags.BoolVar(&o.fromCluster, "from-cluster", false, "read the objects in the cluster; those that another object has created are left out")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "the `namespace` to read, or for objects that name none; unset: that of the context")
	flags.BoolVarP(&o.all, "all-namespaces", "A", false, "read every namespace, with --from-cluster")
	flags.StringVarP(&o.format, "output", "o", "yaml", "a `format`: yaml, or json, which has no comments")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(convertFormats, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.MarkFlagFilename("filename", "yaml", "yml", "json")
	return cmd
}

func (o *convertOptions) check() error {
	switch {
	case o.fromCluster && len(o.files) > 0:
		return errors.New("either -f or --from-cluster: what the two say of one object may differ")
	case !o.fromCluster && len(o.files) == 0:
		return errors.New("say what to convert: -f FILE, -f - for standard input, or --from-cluster")
	case o.all && !o.fromCluster:
		return errors.New("--all-namespaces is for --from-cluster")
	case o.all && o.namespace != "":
		return errors.New("either --namespace or --all-namespaces")
	case o.recursive && len(o.files) == 0:
		return errors.New("--recursive is for folders that -f names")
	}
	return oneOf("--output", o.format, convertFormats)
}

func (o *convertOptions) run(ctx context.Context) error {
	namespace, err := o.of(o.app)
	if err != nil {
		return err
	}
	var docs []*convert.Document
	var unread []error
	if o.fromCluster {
		docs, unread, err = o.readCluster(ctx, namespace)
	} else {
		docs, err = o.readFiles()
	}
	if err != nil {
		return o.notConverted(err)
	}
	report, err := convert.Convert(docs, convert.Options{Namespace: namespace, SkipUnknown: o.fromCluster})
	if err != nil {
		return o.notConverted(err)
	}
	var out bytes.Buffer
	write := report.YAML
	if o.format == "json" {
		write = report.JSON
	}
	if err := write(&out); err != nil {
		return err
	}
	if len(docs) > 0 {
		if _, err := o.Out.Write(out.Bytes()); err != nil {
			return err
		}
	}
	o.tellConverted(ctx, report, namespace)
	for _, err := range unread {
		o.tellUnread(err)
	}
	if len(unread) > 0 {
		return exitError{term.ExitPartial}
	}
	return nil
}

// notConverted puts each of many errors on a line of its own.
func (o *convertOptions) notConverted(err error) error {
	told := err
	if text := err.Error(); strings.Contains(text, "\n") {
		told = fmt.Errorf("nothing was written:\n  %s", strings.ReplaceAll(text, "\n", "\n  "))
	}
	if errors.Is(err, convert.ErrUnknown) {
		return advised{told, o.program + " convert --help"}
	}
	return told
}
