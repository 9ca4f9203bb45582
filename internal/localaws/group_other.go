// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package localaws

import "os/exec"

// apart does nothing where there is no /bin/sh either.
func apart(*exec.Cmd) {}
