// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Problem is one part of an agent that fails.
type Problem struct {
	// Path leads from the whole to the part, such as ["pipeline:traces", "exporter:otlp"]. Empty means the agent
	// as a whole.
	Path []string
	// Pipeline, Kind and ID are read off the path where it is a Collector's: "traces", "exporter", "otlp/2".
	// An agent with names of its own has its last name as ID and no kind.
	Pipeline string
	Kind     string
	ID       string

	Status string
	Error  string
	Since  time.Time
}

// problems lists what fails in the tree, the worst first, and among the equally bad what failed first. A part
// that fails only because a part below it does is not listed.
func problems(root *Health) []Problem {
	if root == nil {
		return nil
	}
	var out []Problem
	collectProblems(root, nil, isLeaving(root.Status) && !root.goesOn(), &out)
	slices.SortStableFunc(out, compareProblems)
	return out
}

// goesOn reports whether some part runs. The whole calls itself stopping as soon as one part has stopped; only if
// every part is on its way is that the end, and not a part that stopped alone.
func (h *Health) goesOn() bool {
	if len(h.Children) == 0 {
		return h.Status == statusOK
	}
	return slices.ContainsFunc(h.Children, (*Health).goesOn)
}

// collectProblems reports whether there was one in h or below.
func collectProblems(h *Health, path []string, leaving bool, out *[]Problem) bool {
	found := false
	for _, child := range h.Children {
		below := append(slices.Clip(path), child.Name)
		found = collectProblems(child, below, leaving, out) || found
	}
	if found || !h.fails(leaving) {
		return found
	}
	*out = append(*out, newProblem(h, path))
	return true
}

// fails tells what is broken from what is merely not up yet or going down in order. A part that stopped while the
// whole goes on does fail.
func (h *Health) fails(leaving bool) bool {
	if h.Healthy {
		return false
	}
	switch h.Status {
	case statusStarting, statusStopping:
		return false
	case statusOK:
		return h.LastError != ""
	case statusStopped:
		return !leaving
	default:
		return !h.onlyTransient()
	}
}

// onlyTransient reports whether h is unhealthy for no other reason than parts that start or stop.
func (h *Health) onlyTransient() bool {
	if h.Status != "" || h.LastError != "" || len(h.Children) == 0 {
		return false
	}
	for _, child := range h.Children {
		if !child.Healthy && isTransient(child.Status) {
			return true
		}
	}
	return false
}

func isTransient(status string) bool {
	return status == statusStarting || isLeaving(status)
}

func isLeaving(status string) bool {
	return status == statusStopping || status == statusStopped
}

func newProblem(h *Health, path []string) Problem {
	p := Problem{Path: path, Status: h.Status, Error: h.LastError, Since: h.Since}
	for _, name := range path {
		if id, ok := strings.CutPrefix(name, "pipeline:"); ok {
			p.Pipeline = id
		}
	}
	if len(path) > 0 {
		p.Kind, p.ID = SplitComponentName(path[len(path)-1])
	}
	return p
}

// SplitComponentName reads a Collector's name of a part, such as "exporter:otlp/2". For any other name the kind
// is empty and the ID is the name.
func SplitComponentName(name string) (kind, id string) {
	kind, id, ok := strings.Cut(name, ":")
	if ok && slices.Contains(componentKinds, kind) {
		return kind, id
	}
	return "", name
}

var componentKinds = []string{"pipeline", "receiver", "processor", "exporter", "connector", "extension"}

func compareProblems(a, b Problem) int {
	return cmp.Or(
		cmp.Compare(severity(b.Status), severity(a.Status)),
		a.Since.Compare(b.Since),
		slices.Compare(a.Path, b.Path),
	)
}

func severity(status string) int {
	switch status {
	case statusFatalError:
		return 3
	case statusPermanentError:
		return 2
	case statusStopped:
		return 0
	default:
		return 1
	}
}

// Graver reports whether status a is worse than status b.
func Graver(a, b string) bool { return severity(a) > severity(b) }
