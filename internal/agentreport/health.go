// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

const (
	// MaxErrorBytes bounds the text of one error in a health report.
	MaxErrorBytes = 4 << 10
	// MaxStatusAttributes is how many attributes of one status event are reported.
	MaxStatusAttributes = 32

	// maxHealthDepth is deeper than any tree of a Collector (the whole, its
	// pipelines, their components) and keeps a wrong one from recursing for ever.
	maxHealthDepth = 8
)

// HealthTree is the status of a part of the Collector and of the parts below it.
type HealthTree struct {
	Status componentstatus.Status
	// Error is the text of the error behind Status, empty where there is none.
	Error string
	// Since is when Status was entered.
	Since time.Time
	// Attributes is what the component said beside it. The zero Map is allowed.
	Attributes pcommon.Map
	// Children by their name on the wire.
	Children map[string]*HealthTree
}

// ComponentHealth is the wire form of tree. Only StatusOK is healthy. Every part
// that is up carries the one time at which the Collector was started: a status
// that changes does not make a component younger. A zero started, or a part that
// is not up, gives start time 0, as the spec demands.
func ComponentHealth(tree *HealthTree, started time.Time) *protobufs.ComponentHealth {
	return componentHealth(tree, unixNano(started), 0)
}

func componentHealth(t *HealthTree, started uint64, depth int) *protobufs.ComponentHealth {
	h := &protobufs.ComponentHealth{
		Healthy:            t.Status == componentstatus.StatusOK,
		Status:             t.Status.String(),
		StatusTimeUnixNano: unixNano(t.Since),
		LastError:          clip(t.Error, MaxErrorBytes),
		Attributes:         keyValues(t.Attributes, MaxStatusAttributes, 0),
	}
	if isUp(t.Status) {
		h.StartTimeUnixNano = started
	}
	if len(t.Children) > 0 && depth < maxHealthDepth {
		h.ComponentHealthMap = make(map[string]*protobufs.ComponentHealth, len(t.Children))
		for name, child := range t.Children {
			h.ComponentHealthMap[clip(name, MaxKeyBytes)] = componentHealth(child, started, depth+1)
		}
	}
	return h
}

// isUp tells a part that runs, well or badly, or is about to, from one that does
// not.
func isUp(s componentstatus.Status) bool {
	return s != componentstatus.StatusNone && s != componentstatus.StatusStopped
}

func unixNano(t time.Time) uint64 {
	if t.IsZero() || t.UnixNano() < 0 {
		return 0
	}
	return uint64(t.UnixNano())
}
