// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Write is one request to the API server that asked for a change, refused ones too.
type Write struct {
	Verb string `json:"verb"`
	User struct {
		Name string `json:"username"`
	} `json:"user"`
	// Played is whom the user impersonated; Writes makes it the User.
	Played struct {
		Name string `json:"username"`
	} `json:"impersonatedUser"`
	Object struct {
		Group       string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	Response struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Time time.Time `json:"stageTimestamp"`
}

// String is such as "system:serviceaccount:orlop-system:orlop-agent patch imagestores/status node1 (200)".
func (w Write) String() string {
	what := w.Object.Resource
	if w.Object.Subresource != "" {
		what += "/" + w.Object.Subresource
	}
	return fmt.Sprintf("%s %s %s %s (%d)", w.User.Name, w.Verb, what, w.Object.Name, w.Response.Code)
}

// AuditMark is how far the API server's account of writes goes now.
func (c *Cluster) AuditMark() (int64, error) {
	info, err := os.Stat(c.instance.AuditLog())
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Writes are the changes that the API server was asked for since the mark; reads are not told.
func (c *Cluster) Writes(mark int64) ([]Write, error) {
	log, err := os.Open(c.instance.AuditLog())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if _, err := log.Seek(mark, io.SeekStart); err != nil {
		return nil, err
	}
	var writes []Write
	decoder := json.NewDecoder(bufio.NewReader(log))
	for {
		var w Write
		switch err := decoder.Decode(&w); {
		case err == nil:
			w.User.Name = cmp.Or(w.Played.Name, w.User.Name)
			writes = append(writes, w)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // The last line may be half written.
			return writes, nil
		default:
			return nil, fmt.Errorf("reading the API server's account of writes: %w", err)
		}
	}
}
