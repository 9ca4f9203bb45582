// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetsearch finds agents, counts them by facets, and groups what is wrong with them and what they run.
//
// [Index] keeps, for each agent of a [fleet.Fleet], the values of its facets, and answers from them. It follows the
// fleet by its versions: each question first takes in what changed since the one before, which costs as much as has
// changed, and holds no lock of the fleet for longer than that list takes to copy. What has not been asked costs
// nothing, unless somebody calls [Index.Read] meanwhile.
//
// # How configs are read
//
// To say what is in a config ([fleetconfig.Examine]) takes ten times as long as all else that is taken in of an agent
// that changed. So it is done once for each hash, and outside of the lock under which questions are answered. A question
// reads what few agents reported, or some of what many did, those last that reported first, so that who has just reported is
// seen; [Index.Read] goes on from the other end, so that none waits for ever. Agents whose config is unread are found and
// counted by all else, and every answer says how many configs that are ([Index.Unread]).
//
// # How it is fast
//
// A value (a version, a component) is kept once and has a number. So has a set of values, for most agents run the same
// components as many others. An agent is then one number a facet, all in one row of an array. A query compares each
// distinct value once with what it asks for, then each distinct set, and what is left for each agent is one look into
// an array. A facet is counted by sets, too, and spread over their values at the end. A page is the best few of all that
// was found, not the first of a sorted list.
//
// # Rules
//
//   - A facet is counted as if the query had no condition of that facet, so that people see what else they could choose.
//   - Pages are cut by key: who comes or goes between two pages shifts nobody else.
//   - Time comes in as a parameter. Nothing here reads the clock, starts a goroutine, logs or touches a network.
package fleetsearch
