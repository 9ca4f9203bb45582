// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"context"
	"errors"

	"go.uber.org/zap"
)

// errHeld says that another process, or another extension of this one, uses a place.
var errHeld = errors.New("it is in use elsewhere")

// Place holds one record outside of the process: a [File] or a [Storage]. One goroutine
// calls it; open comes first, and nothing but it unless it succeeds.
type Place interface {
	// field names the place by the user's key.
	field() zap.Field
	// open takes the place for this extension alone, or fails with errHeld.
	open(ctx context.Context) error
	// load returns nil where nothing was ever saved.
	load(ctx context.Context) ([]byte, error)
	save(ctx context.Context, data []byte) error
	close(ctx context.Context) error
}
