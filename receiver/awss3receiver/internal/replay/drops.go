// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/list"
)

const (
	// named is how many objects that are not delivered have a line each in a span of time. Those beyond
	// are counted, and the metrics count all.
	named     = 20
	namedSpan = time.Minute
)

// drops names objects that are not delivered in the log, not without bound.
type drops struct {
	logger *zap.Logger
	begun  time.Time
	lines  int
	more   int
}

func newDrops(logger *zap.Logger) *drops { return &drops{logger: logger} }

func (d *drops) log(item list.Item, out ingest.Outcome) {
	if out.Reason == ingest.Tagged || strings.HasSuffix(item.Key, "/") && item.Size == 0 {
		d.logger.Debug("Passed over", zap.String("key", item.Key), zap.String("reason", string(out.Reason)))
		return
	}
	if now := time.Now(); now.Sub(d.begun) >= namedSpan {
		d.flush()
		d.begun, d.lines = now, 0
	}
	if d.lines++; d.lines > named {
		d.more++
		return
	}
	d.logger.Warn("An object is not delivered, or not in whole", zap.String("key", item.Key),
		zap.String("reason", string(out.Reason)), zap.Int("records", out.Records), zap.Error(out.Err))
}

// flush says how many were not named.
func (d *drops) flush() {
	if d.more > 0 {
		d.logger.Warn("More objects were not delivered; otelcol_receiver_awss3_objects_dropped counts them by reason", zap.Int("objects", d.more))
	}
	d.more = 0
}
