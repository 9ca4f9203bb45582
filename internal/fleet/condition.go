// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

// Condition is how an agent is, in the one word that a list needs.
type Condition string

const (
	ConditionUnhealthy Condition = "unhealthy" // it says so, or a part of it fails
	ConditionGone      Condition = "gone"      // goodbye, lost or silent: what it said last is past
	ConditionUnknown   Condition = "unknown"   // it tells nothing of its health, or was not heard since the server started
	ConditionStarting  Condition = "starting"
	ConditionStopping  Condition = "stopping"
	ConditionHealthy   Condition = "healthy"
)

// Conditions lists every condition, what needs attention first.
func Conditions() []Condition {
	return []Condition{
		ConditionUnhealthy, ConditionGone, ConditionUnknown, ConditionStarting, ConditionStopping, ConditionHealthy,
	}
}

// Condition of the agent. A failing part makes it unhealthy even where the agent says that the whole is well:
// an agent's own aggregation may pass over errors that it hopes to recover from.
func (a *Agent) Condition() Condition {
	switch {
	case a.Liveness == LivenessUnknown:
		return ConditionUnknown
	case !a.Present():
		return ConditionGone
	case a.Health == nil:
		return ConditionUnknown
	case len(a.Problems) > 0:
		return ConditionUnhealthy
	case a.Health.Healthy:
		return ConditionHealthy
	case isLeaving(a.Health.Status):
		return ConditionStopping
	default:
		// Unhealthy with nothing that fails: parts that are not up yet.
		return ConditionStarting
	}
}
