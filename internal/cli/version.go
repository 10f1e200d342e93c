// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"orlop.dev/orlop/internal/fleet"
	"orlop.dev/orlop/internal/table"
)

// programVersion is one program in an answer.
type programVersion struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

func (a *app) versionCommand() *cobra.Command {
	var o output
	client := false
	cmd := &cobra.Command{
		Use: "version", GroupID: groupOperate, Short: "Print the versions of this program and of the cluster",
		Example: a.examples(`
			{} version
			{} version --client
			{} version -o json`),
		Args: a.noArgs(""),
		RunE: func(*cobra.Command, []string) error {
			if err := o.check(); err != nil {
				return usageError{err, a.program + " version --help"}
			}
			versions := []programVersion{{"kubectl-orlop", a.version}, {"node image", cmp.Or(os.Getenv(envImage), nodeImage+":"+imageTag(a.version))}}
			var unknown error
			if !client {
				var server string
				if server, unknown = a.serverVersion(); unknown == nil {
					versions = append(versions, programVersion{"kubernetes", server})
				}
			}
			t := &table.Table{Columns: []table.Column{{Name: "NAME"}, {Name: "VERSION"}}}
			ans := answer{kind: "VersionList", items: versions, table: t}
			for _, v := range versions {
				t.Add(v.Name, v.Version)
				ans.names = append(ans.names, strings.ReplaceAll(v.Name, " ", "-")+"/"+v.Version)
			}
			if err := a.print(&o, ans); err != nil {
				return err
			}
			return unknown
		},
	}
	o.add(cmd.Flags())
	cmd.Flags().BoolVar(&client, "client", false, "do not ask the cluster")
	return cmd
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
