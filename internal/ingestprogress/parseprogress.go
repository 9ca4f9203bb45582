// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingestprogress

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Largest figures that are believed. What is beyond is the nearest that is.
const (
	maxRate = 1e15 // a second
	maxETA  = float64(100 * 365 * 24 * time.Hour / time.Second)
)

// ParseProgress reads the data of a [TypeProgress]. The error is [ErrTooLarge] or [ErrMalformed]. What
// it returns is safe to keep and to show: texts and lists are cut to their bounds, times are not
// negative, Percent is 0 to 100 or -1, rates are not negative, ETASeconds is -1 or up to a hundred
// years, and the state is a known one. Fields that it doesn't know are passed over.
func ParseProgress(data []byte) (Progress, error) {
	if len(data) > MaxMessageBytes {
		return Progress{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	var p Progress
	if err := json.Unmarshal(data, &p); err != nil {
		return Progress{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch {
	case p.Receiver == "":
		return Progress{}, fmt.Errorf("%w: no receiver", ErrMalformed)
	case !isSignal(p.TelemetryType):
		return Progress{}, fmt.Errorf("%w: telemetry_type %.32q is none of %v", ErrMalformed, p.TelemetryType, signals)
	case !p.State.known():
		return Progress{}, fmt.Errorf("%w: state %.32q is none of %v", ErrMalformed, p.State, States())
	}
	p.bound()
	return p, nil
}

// bound holds every field to what it may be.
func (p *Progress) bound() {
	p.Receiver, p.Mode = cut(p.Receiver, maxName), cut(p.Mode, maxName)
	p.Key, p.Error = cut(p.Key, maxKey), cut(p.Error, maxError)
	for _, t := range []*int64{&p.Start, &p.End, &p.Position, &p.Began, &p.Updated} {
		*t = max(*t, 0)
	}
	p.Percent = known(p.Percent, 100)
	p.ETASeconds = known(p.ETASeconds, maxETA)
	p.ObjectsPerSecond = min(max(p.ObjectsPerSecond, 0), maxRate)
	p.BytesPerSecond = min(max(p.BytesPerSecond, 0), maxRate)
	p.Failures = boundFailures(p.Failures)
}

// known is v from 0 to most, or -1 for one that nobody knows.
func known(v, most float64) float64 {
	if v < 0 {
		return -1
	}
	return min(v, most)
}

func boundFailures(all map[string]uint64) map[string]uint64 {
	if len(all) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(all))
	out := make(map[string]uint64, min(len(names), maxFailures))
	for _, name := range names[:min(len(names), maxFailures)] {
		out[cut(name, maxReason)] = all[name]
	}
	return out
}
