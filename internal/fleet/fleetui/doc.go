// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetui is the page that people look at: the list of collectors, and one of them.
//
//	GET /                    the list; the URL holds its search, filters, order and page
//	GET /agents/{uid}        one collector
//	POST /agents/{uid}/report asks it how far its replays are, and leads back to its page
//	GET /agents/{uid}/config one file of its effective config as plain text (?name=)
//	GET /assets/{file}       style sheet, scripts, icon
//
// Pages are made on the server and work without JavaScript. With it, a page follows the event stream of
// /api/v1/events, fetches itself again when what it shows has changed, and morphs into the new one, so that scroll
// position, focus, selection and open parts stay.
//
// Everything that an agent says of itself is foreign: html/template escapes it, clean makes its control characters
// visible, and each piece is isolated from the direction of the text around it. The content security policy allows
// nothing but this package's own files.
package fleetui
