// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package redact keeps secrets out of what an agent tells about itself: its
// configuration, the errors of its components, its description, its log. It is pure:
// values in, new values out.
//
// The Collector masks the fields that its components declare opaque (configopaque).
// Much is not declared: passwords in URLs, connection strings, scrape configurations,
// headers in an unexpanded configuration (Collector issue 15980), whatever a user wrote
// into an environment variable. [Rules] find these by where a value stands, by what it
// looks like, and by where it came from. A doubt masks.
//
// # Where a value stands
//
// The name of a key decides by its noun: a client_secret is one, a client_secret_file
// and a secret_name are not, nor are a partition_key or a tokenizer. Under the name of a
// secret, text and numbers are masked, booleans and empty text stay; a map below it is
// masked value by value but for what describes the secret (name, file, type, ttl...); a
// map under auth is only looked into. The scalar under auth, session or credentials is
// shown if it reads like an identifier (auth: basicauth/client). The keys that name
// components and pipelines say nothing.
//
// All values of headers are masked, in a map, in a list of names and values, in text of
// the form a=b,c=d, except those of a short list of headers that tell how to talk, not
// who may: content-type, accept, user-agent, x-scope-orgid and the like. Query
// parameters and metadata are masked when their name says so. Where a name stands beside
// a value (a list of environment variables, of attributes to set), it decides like a key;
// after an argument --token comes a secret.
//
// Of a connection string the secret part is masked, all of it where none can be told
// apart; of a webhook's URL everything behind the host.
//
// # What it looks like
//
// In any text, whatever its key: the password of a URL, or a user that is a token, and
// parameters named like secrets; user:password@tcp(host) without a scheme; private keys
// in PEM, plain or in base64 (certificates stay); JWTs; what follows Bearer, Basic and
// other schemes; tokens with the prefixes that issuers document; Password=x, token: y,
// "api_key": "z", --secret w, <password>v</password>; and in a configuration, text that
// reads like key material because capitals, small letters and digits follow each other
// as they do in no name. UUIDs, hashes beside the word for one, identifiers of clouds,
// versions, hosts and paths stay. YAML and JSON within a string are parsed and masked by
// all rules, order and comments kept.
//
// # Where it came from
//
// With the unexpanded configuration at hand, what a provider such as ${env:X} gave is
// masked: within a longer value only that part, if the text around it is found again;
// booleans, numbers, durations and words of settings (debug, gzip) stay. Where one
// reference brought a whole section, that is a configuration again, and in it only text
// that doesn't read like one is masked besides what the other rules mask. [KeepProviderValues]
// turns all this off. In an unexpanded configuration ([Rules.Raw]) references stay, and
// the defaults in them are masked.
//
// # What the user says
//
// Denied paths beat allowed paths, these beat every rule, and the user's names of keys
// change the built-in ones. See [Options].
//
// # What comes back
//
// What was masked in a configuration ([Secrets]) is masked in it wherever else it stands,
// if it can be nothing but a secret, and in later texts ([Rules.Text]).
//
// # Promises
//
// Keys, the length and the order of lists stay, and so does the type of everything that
// is not masked. Masking twice is masking once. Time grows with the length of the input
// alone; nesting is bounded at 100, values at a million, both by masking what is beyond.
// The names of keys are never masked, even if one is a secret.
package redact
