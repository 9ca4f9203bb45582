// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package localaws

import (
	"os/exec"
	"syscall"
)

// apart keeps a Ctrl-C in the terminal from a server: whoever started it decides when it ends.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
