// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package componenthealth keeps the latest status of every component of this
// Collector and says, in few messages, how the whole of it feels.
//
// # From a status event to a message
//
// The service calls [Recorder.ComponentStatusChanged] under its own status lock,
// before Start, after Stop and beside itself. The call therefore only writes the
// latest status of that component and nudges. One goroutine, from Start to Stop,
// does the rest: it waits for the pipelines to be ready, takes a snapshot,
// aggregates it, compares the whole tree with the one last sent and sends it when
// the pace allows. What is held is state and not a queue, so late, early and
// repeated events are harmless and memory is bounded by the number of components.
//
// # What is said when
//
//   - From Start until Ready: one message, unhealthy and StatusStarting. The tree
//     of a Collector half started changes with every component and tells nobody
//     anything.
//   - Ready: one whole tree. A component that still starts is waited for up to
//     half a second, so that a start does not show as healthy, sick, healthy.
//   - Then every change of the tree, at most one message a second. The first
//     worsening of the whole does not wait for that second; it may pass the limit
//     once in ten seconds. Within any second at most two messages leave, and the
//     last state always does.
//   - NotReady: one message, StatusStopping above the components as they were
//     when stopping began, and then silence. The goodbye is the client's to say.
//
// # Since when
//
// A component's status time is the start of its unbroken run of one status: an
// exporter that fails for an hour has failed since the first failure, even if
// each error carries another number in its text. An error shown by a pipeline or
// the whole is that of the component which failed first, because it is the most
// likely cause; a pipeline is OK since the latest of its components is.
package componenthealth
