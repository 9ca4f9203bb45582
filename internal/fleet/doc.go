// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet knows what is true of each agent.
//
// [Apply] folds one OpAMP status report into what is known of an agent: an absent part is unchanged, a hole in
// the sequence numbers means that a part was missed, and then the reply asks for everything, once. It is a pure
// function of its arguments.
//
// [Fleet] holds the agents: it binds them to the connections they speak on, notices who went away and how,
// bounds everything an agent can make it keep, numbers each visible change, and wakes those who watch.
//
// # Rules
//
//   - An [Agent] is a snapshot. It never changes after it was handed out.
//   - Time comes in as a parameter. Nothing here reads the clock, starts a goroutine, logs or touches a network.
//   - The server only listens. No reply carries an offer of any kind. What a reply may carry is a custom message that
//     somebody posted, to an agent that announced its capability.
//   - An agent is not a connection: behind a gateway many agents share one, and one agent may show up on two.
//     The last one to speak counts.
//
// # Where to start to read
//
// agent.go is the noun, apply.go the verb, fleet.go the holder; message.go, ingest.go, gateway.go and post.go are what custom
// messages add to them. testdata holds scenarios that tell the rules by
// example.
package fleet
