// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetapi tells what is true of each agent over HTTP: as JSON, and as a stream of server-sent events.
//
//	GET /api/v1/agents                          the list, with query, sort, pages, facets and groups; also as CSV
//	GET /api/v1/agents/{uid}                    everything about one agent
//	GET /api/v1/agents/{uid}/graph              its pipelines as a drawing
//	GET /api/v1/agents/{uid}/custom-messages    what was said by custom messages
//	POST /api/v1/agents/{uid}/custom-messages   says something
//	GET /api/v1/facets                          how many agents have which version, status, component...
//	GET /api/v1/components                      which types of components run, fail and are available
//	GET /api/v1/query/complete                  how a query may go on, and whether it is one
//	GET /api/v1/problems                        what is wrong, and who else has it
//	GET /api/v1/configs                         what configs run, and who has drifted
//	GET /api/v1/configs/{hash}                  one config
//	GET /api/v1/configs/{hash}/diff/{other}     what leads from one config to another
//	GET /api/v1/agents/{uid}/history            what happened to it
//	GET /api/v1/agents/{uid}/transition         since when it is as it is, and what changed just before
//	GET /api/v1/history                         what happened
//	GET /api/v1/disappeared                     who is gone, how, and whether it was rather the server
//	GET /api/v1/coverage                        where there is no collector any more, or several; shared instance UIDs
//	GET /api/v1/rollout                         how far a version or a config has come; also as CSV
//	GET /api/v1/topology                        who is behind which gateway
//	GET /api/v1/events                          what changes, as it changes
//	GET /api/v1/openapi.yaml                    this API in OpenAPI's words
//
// It reads, but for one thing: it takes a custom message to one agent, which can't change what a Collector does. A
// request to do so that a web page of another site makes is refused. It authenticates nobody: the listener does, for
// the page and for this; Settings.MaySend is where a role is asked for.
//
// What looks at all agents is asked of an index ([fleetsearch]), at most a few questions at a time; more wait, and too
// many are refused.
//
// A stream carries states, not events. Each remembers only the last position that it told, wakes when something
// changed, and tells what is true then, at most once a second. A client that reads slowly skips what was true in
// between; it holds nobody up, and a write that lasts too long ends it. Who may see it is decided when it is opened, so it
// ends after a few minutes, with the position from which its client goes on when it comes again.
package fleetapi
