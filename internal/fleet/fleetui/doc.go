// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetui is the pages that people look at.
//
//	GET /                    the overview: what an operator asks first, each answer a link to who it is about
//	GET /agents              the collectors that a query finds, with facets, groups, columns, order and pages
//	GET /agents/{uid}        one collector; ?pipelines=table tells its pipelines in rows
//	POST /agents/{uid}/report asks it how far its replays are, and leads back to its page
//	GET /agents/{uid}/config one file of its effective config as plain text (?name=)
//	GET /problems            what fails, by component and error
//	GET /configs             families of configs, their variants, and who drifted
//	GET /configs/{hash}      one config; /text?name= is a file of it
//	GET /configs/{hash}/diff what differs from another (?to= a hash, an instance UID or "majority"; ?exact=true); with
//	                         ?from= what leads from the other to this one
//	GET /rollout             how far a version or a config (?of=, ?value=) has come among some (?q=) in a time (?for=)
//	GET /events              what happened, by kind (?kind=), the last first
//	GET /server              the load and the limits of the server itself
//	GET /complete            a piece of a page: how a query (?q=) goes on at the cursor (?at=, in bytes)
//	GET /assets/{file}       style sheet, scripts, icon
//
// The address holds all of a view's state. Filters that were parameters before they were terms of a query, and the list
// when it was at /, are redirected.
//
// Pages are made on the server and work without JavaScript. With it, a page follows the event stream of
// /api/v1/events, fetches itself again when what it shows has changed, and morphs into the new one, so that scroll
// position, focus, selection and open parts stay. What a pointer or a focus is on (data-order, data-hold) keeps its
// place; a word says how much would be elsewhere. A page rests five times as long as it took to fetch, and at most two
// pages that look at all agents are made at a time.
//
// Everything that an agent says of itself is foreign: html/template escapes it, clean makes its control characters
// visible, and each piece is isolated from the direction of the text around it. The content security policy allows
// nothing but this package's own files.
package fleetui
