// SPDX-FileCopyrightText: The Orlop Authors
// SPDX-License-Identifier: Apache-2.0

// Package engines proves the adapters on real runtimes: a containerd and Docker engines that the lab runs.
package engines
