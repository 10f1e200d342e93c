// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/table"
)

// programVersion is one program in an answer.
type programVersion struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Nodes are those of agents.
	Nodes []string `json:"nodes,omitempty"`
}

func (a *app) versionCommand() *cobra.Command {
	var o output
	client := false
	cmd := &cobra.Command{
		Use: "version", GroupID: groupOperate, Short: "Print the versions of this program and of the cluster",
		Long: `Print the versions of this program, of the node image that it uses, of Kubernetes and, where Orlop is installed, of its
controller and its agents. Versions that do not fit together are reported on standard error.`,
		Example: a.examples(`
			{} version
			{} version --client
			{} version -o json`),
		Args: a.noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError{err, a.program + " version --help"}
			}
			return a.runVersion(cmd.Context(), &o, client)
		},
	}
	o.add(cmd.Flags())
	cmd.Flags().BoolVar(&client, "client", false, "do not ask the cluster")
	return cmd
}

func (a *app) runVersion(ctx context.Context, o *output, client bool) error {
	found := []programVersion{{Name: "kubectl-orlop", Version: a.version}, {Name: "node image", Version: cmp.Or(os.Getenv(envImage), nodeImage+":"+imageTag(a.version))}}
	var all versions
	var unknown error
	if !client {
		var server string
		if server, unknown = a.serverVersion(); unknown == nil {
			found = append(found, programVersion{Name: "kubernetes", Version: server})
			all, unknown = a.installedVersions(ctx)
		}
	}
	if all.controller != "" {
		found = append(found, programVersion{Name: "controller", Version: all.controller})
	}
	for _, agent := range slices.Sorted(maps.Keys(all.agents)) {
		found = append(found, programVersion{Name: "agents", Version: agent, Nodes: all.agents[agent]})
	}
	if err := a.printVersions(o, found); err != nil {
		return err
	}
	if message, fix := all.skew(); message != "" {
		sentence(a.Err, 2, "%s %s", a.paint.warn(), message)
		fmt.Fprintf(a.Err, "  try: %s\n", fix)
	}
	return unknown
}

// printVersions counts nodes only where there are agents.
func (a *app) printVersions(o *output, found []programVersion) error {
	t := &table.Table{Columns: []table.Column{{Name: "NAME"}, {Name: "VERSION"}}}
	agents := slices.ContainsFunc(found, func(v programVersion) bool { return len(v.Nodes) > 0 })
	if agents {
		t.Columns = append(t.Columns, table.Column{Name: "NODES", Right: true})
	}
	ans := answer{kind: "VersionList", items: found, table: t}
	for _, v := range found {
		row := []string{v.Name, v.Version}
		switch {
		case len(v.Nodes) > 0:
			row = append(row, fmt.Sprint(len(v.Nodes)))
		case agents:
			row = append(row, "-")
		}
		t.Add(row...)
		ans.names = append(ans.names, strings.ReplaceAll(v.Name, " ", "-")+"/"+v.Version)
	}
	return a.print(o, ans)
}

func (a *app) serverVersion() (string, error) {
	config, err := a.connect()
	if err != nil {
		return "", err
	}
	f, err := fleet.New(fleet.Config{Rest: config})
	if err != nil {
		return "", err
	}
	info, err := f.Client().Discovery().ServerVersion()
	if err != nil {
		return "", fmt.Errorf("asking for the cluster's version: %w", err)
	}
	return info.GitVersion, nil
}

// installedVersions are those of an installed Orlop. What may not be seen is told, and is no failure.
func (a *app) installedVersions(ctx context.Context) (versions, error) {
	op, err := a.installed(ctx)
	if err != nil || op == nil {
		return versions{}, err
	}
	install, err := op.Install(ctx, "")
	if err != nil {
		return versions{}, err
	}
	stores, err := op.Stores(ctx, nil)
	if err != nil {
		install.Hidden = append(install.Hidden, cause(err))
	}
	for _, words := range install.Hidden {
		sentence(a.Err, 2, "%s not seen: %s", a.paint.warn(), words)
	}
	return versionsOf(a.version, install, stores), nil
}
