// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleetquery is the language in which people ask for agents: one line of text.
//
//	status:failing component:exporter:otlp* error:"connection refused" version:<0.155 -liveness:goodbye free words
//
// # The language
//
// A query is terms with spaces between them, and an agent is found if all of them hold.
//
//	word                a text that is somewhere in the agent's names, attributes, failing components or errors
//	facet:value         a facet of the agent has this value; see [Facets]
//	facet:a,b           one of these values
//	attr.KEY:value      an attribute that the agent told; a KEY with a dot in it needs no "attr."
//	-term               the term does not hold
//	"with spaces"       quotes keep spaces, commas, colons and asterisks from meaning anything; \" and \\ in them
//	*                   in a value, any text; alone, any value at all
//	<, <=, >, >=        before a version or an age
//
// Nothing depends on the case of letters. [Query.String] gives the one text that means the same: parsing it again
// gives the same query.
//
// # Rules
//
//   - A text that can't be understood is an error that names the word, its place and what would do. Nothing is guessed.
//   - A query is bounded ([MaxBytes], [MaxTerms], [MaxValues]), and so is the work of comparing one value with it.
package fleetquery
