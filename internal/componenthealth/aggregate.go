// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package componenthealth

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pipeline"

	"github.com/otel-fleetview/fleetview/internal/agentreport"
)

const (
	scopeExtensions = "extensions"
	scopePipeline   = "pipeline:" // and the pipeline's id
)

// aggregate is the tree of the whole: below it the extensions and each pipeline,
// below those their components. A component that belongs to several pipelines
// stands in each. With nothing recorded the whole has StatusNone and no children.
func aggregate(all instances) *agentreport.HealthTree {
	scopes := map[string]map[string][]*agentreport.HealthTree{}
	for id, st := range all {
		name := componentName(&id)
		leaf := leafOf(st)
		for _, scope := range scopesOf(&id) {
			if scopes[scope] == nil {
				scopes[scope] = map[string][]*agentreport.HealthTree{}
			}
			scopes[scope][name] = append(scopes[scope][name], leaf)
		}
	}

	root := map[string]*agentreport.HealthTree{}
	for scope, components := range scopes {
		parts := make(map[string]*agentreport.HealthTree, len(components))
		for name, leaves := range components {
			parts[name] = mergeInstances(leaves)
		}
		root[scope] = parent(parts)
	}
	return parent(root)
}

// leafOf copies what an event says. fmt asks the error for its text because it
// survives one whose Error method panics, and this is not its author's goroutine.
func leafOf(st state) *agentreport.HealthTree {
	leaf := &agentreport.HealthTree{
		Status:     st.event.Status(),
		Since:      st.since,
		Attributes: st.event.Attributes(),
	}
	if err := st.event.Err(); err != nil {
		leaf.Error = fmt.Sprint(err)
	}
	return leaf
}

func componentName(id *componentstatus.InstanceID) string {
	return strings.ToLower(id.Kind().String()) + ":" + id.ComponentID().String()
}

func scopesOf(id *componentstatus.InstanceID) []string {
	if id.Kind() == component.KindExtension {
		return []string{scopeExtensions}
	}
	var scopes []string
	id.AllPipelineIDs(func(p pipeline.ID) bool {
		scopes = append(scopes, scopePipeline+p.String())
		return true
	})
	return scopes
}

// mergeInstances is one component of one pipeline. A connector may have several
// instances there, one for each pair of signals that it joins.
func mergeInstances(leaves []*agentreport.HealthTree) *agentreport.HealthTree {
	if len(leaves) == 1 {
		return leaves[0]
	}
	// An order that does not come from a map, so that ties fall the same way.
	slices.SortFunc(leaves, func(a, b *agentreport.HealthTree) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Error, b.Error)
	})
	return summary(leaves)
}

func parent(children map[string]*agentreport.HealthTree) *agentreport.HealthTree {
	parts := make([]*agentreport.HealthTree, 0, len(children))
	for _, name := range slices.Sorted(maps.Keys(children)) {
		parts = append(parts, children[name])
	}
	t := summary(parts)
	t.Children = children
	return t
}

// summary is what a whole shows for its parts. An error comes with the text, the
// attributes and the time of the part that entered it first: it is where a
// failure that spreads began. Any other status is as old as the latest change
// among the parts.
func summary(parts []*agentreport.HealthTree) *agentreport.HealthTree {
	sum := &agentreport.HealthTree{Status: commonStatus(parts)}
	if !componentstatus.StatusIsError(sum.Status) {
		for _, p := range parts {
			if p.Since.After(sum.Since) {
				sum.Since = p.Since
			}
		}
		return sum
	}
	first := (*agentreport.HealthTree)(nil)
	for _, p := range parts {
		if p.Status == sum.Status && (first == nil || p.Since.Before(first.Since)) {
			first = p
		}
	}
	sum.Error, sum.Since, sum.Attributes = first.Error, first.Since, first.Attributes
	return sum
}

// precedence is the order in which one part's status speaks for the whole where
// the parts differ. A part that starts or stops hides an error below it, because
// the error may be no more than its consequence.
var precedence = [...]componentstatus.Status{
	componentstatus.StatusFatalError,
	componentstatus.StatusStarting,
	componentstatus.StatusStopping,
	componentstatus.StatusStopped,
	componentstatus.StatusPermanentError,
	componentstatus.StatusRecoverableError,
	componentstatus.StatusOK,
}

func commonStatus(parts []*agentreport.HealthTree) componentstatus.Status {
	var seen [len(precedence) + 1]bool // by status, StatusNone included
	kinds := 0
	for _, p := range parts {
		if !seen[p.Status] {
			seen[p.Status] = true
			kinds++
		}
	}
	for _, s := range precedence {
		if !seen[s] {
			continue
		}
		if s == componentstatus.StatusStopped && kinds > 1 {
			return componentstatus.StatusStopping // some have, the others will
		}
		return s
	}
	return componentstatus.StatusNone
}

// badness orders what an operator wants to know at once.
func badness(s componentstatus.Status) int {
	switch s {
	case componentstatus.StatusOK:
		return 0
	case componentstatus.StatusRecoverableError:
		return 2
	case componentstatus.StatusPermanentError:
		return 3
	case componentstatus.StatusFatalError:
		return 4
	default: // on its way up or down
		return 1
	}
}
