// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"errors"
	"fmt"
)

// Mask stands where a secret stood. It is the mask of the Collector's own
// configopaque types, so that a reader meets one spelling only.
const Mask = "[REDACTED]"

// ProviderValues says what happens to a value that the Collector's configuration
// took from a provider, such as ${env:X} or ${file:X}.
type ProviderValues string

const (
	// MaskProviderValues masks the text that came from a provider, unless it is a
	// boolean, a number or a duration. It is what "" means.
	MaskProviderValues ProviderValues = "mask"
	// KeepProviderValues treats it like text that was written into the configuration.
	KeepProviderValues ProviderValues = "keep"
)

// Options are the user's changes to the built-in rules.
type Options struct {
	// Keys are more names of keys that hold secrets, ExceptKeys names that hold none.
	// Both are globs (* and ?) over the whole name; case and separators do not count.
	// A name in both is excepted.
	Keys, ExceptKeys []string
	// Allow and Deny are paths, their parts separated by "::". In a part, * and ? are
	// wildcards; the part ** stands for any number of parts. An element of a list is
	// called by its index, or by its name where it has one, as headers do. Deny covers
	// everything below a path and wins; Allow shows exactly the value at a path.
	Allow, Deny []string
	// ProviderValues is "mask" (or empty) or "keep".
	ProviderValues ProviderValues
}

// Rules say what in a configuration is a secret. They are fixed at construction
// and may be used from several goroutines.
type Rules struct {
	keys         []glob
	exceptKeys   []glob
	allow        []pathPattern
	deny         []pathPattern
	keepProvided bool
}

// maxPatterns bounds each list of [Options].
const maxPatterns = 1000

// New builds the rules. Its errors name the keys of the options as they stand in
// YAML (keys, except_keys, allow, deny, provider_values) and come all at once.
func New(o Options) (*Rules, error) {
	r := &Rules{keepProvided: o.ProviderValues == KeepProviderValues}
	errs := make([]error, 5)
	r.keys, errs[0] = parseAll("keys", o.Keys, parseKeyPattern)
	r.exceptKeys, errs[1] = parseAll("except_keys", o.ExceptKeys, parseKeyPattern)
	r.allow, errs[2] = parseAll("allow", o.Allow, parsePathPattern)
	r.deny, errs[3] = parseAll("deny", o.Deny, parsePathPattern)
	switch o.ProviderValues {
	case "", MaskProviderValues, KeepProviderValues:
	default:
		errs[4] = fmt.Errorf("provider_values: %q is not %q or %q", o.ProviderValues, MaskProviderValues, KeepProviderValues)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// isExtra reports whether the user calls a name that of a secret.
func (r *Rules) isExtra(name string) bool { return matchAny(r.keys, name) }

// isExcepted reports whether the user calls a name harmless.
func (r *Rules) isExcepted(name string) bool { return matchAny(r.exceptKeys, name) }

func matchAny(globs []glob, name string) bool {
	if len(globs) == 0 {
		return false
	}
	name = squeeze(name)
	for _, g := range globs {
		if g.match(name) {
			return true
		}
	}
	return false
}

// meaningOf is what a name means below a map called parent.
func (r *Rules) meaningOf(name, parent string) meaning {
	m := meaningOf(name, parent)
	switch {
	case r.isExcepted(name):
		m.kind, m.vault, m.setting = kindPlain, false, true
	case r.isExtra(name):
		m.kind, m.vault, m.plural, m.path, m.setting = kindSecret, true, false, false, false
	}
	return m
}

func parseAll[P any](key string, patterns []string, parse func(string) (P, error)) ([]P, error) {
	if len(patterns) > maxPatterns {
		return nil, fmt.Errorf("%s: %d patterns, at most %d are possible", key, len(patterns), maxPatterns)
	}
	var errs []error
	out := make([]P, 0, len(patterns))
	for i, pattern := range patterns {
		p, err := parse(pattern)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s[%d]: %q: %w", key, i, pattern, err))
			continue
		}
		out = append(out, p)
	}
	return out, errors.Join(errs...)
}
