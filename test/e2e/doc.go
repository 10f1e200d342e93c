// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e proves Orlop's binaries on a real cluster, and its adapters on real runtimes. It is a module of its
// own, so that nothing of the cluster enters the product.
package e2e
