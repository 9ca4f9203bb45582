// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetproblem

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Key is what makes two problems the same.
type Key struct {
	// Kind and Type of the component: "exporter", "otlp". A part that is no Collector's component has no kind and its
	// name as type, with what differs taken out; an agent as a whole has neither.
	Kind, Type string
	// Error is normalized. Where the component gave no error, it is its status.
	Error string
}

// ID is short, and stable: it depends on nothing but the key.
func (k Key) ID() string {
	h := sha256.Sum256([]byte(k.Kind + "\x00" + k.Type + "\x00" + k.Error))
	return hex.EncodeToString(h[:8])
}

// Component is "exporter:otlp", or the type alone where there is no kind.
func (k Key) Component() string {
	if k.Kind == "" {
		return k.Type
	}
	return k.Kind + ":" + k.Type
}

// Of is the key of a problem.
func Of(p fleet.Problem) Key {
	k := Key{Kind: p.Kind, Error: Normalize(p.Error)}
	k.Type, _, _ = strings.Cut(p.ID, "/")
	if k.Kind == "" {
		k.Type = Normalize(p.ID)
	}
	if k.Error == "" {
		k.Error = Normalize(p.Status)
	}
	return k
}
