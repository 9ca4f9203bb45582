// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package agentidentity

import (
	"errors"
	"os"
)

// tryLock cannot tell whether another process has the file, so it must not be used.
func tryLock(*os.File) error { return errors.ErrUnsupported }
