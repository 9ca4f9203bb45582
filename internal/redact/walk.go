// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxDepth = 100     // maps and lists within each other; what is below is masked
	maxNodes = 1 << 20 // values of one configuration; what comes after is masked
)

// Result is a configuration without its secrets.
type Result struct {
	// Config has the keys of the input, its lists in their order and at their
	// lengths, and every value that is no secret. It shares no map and no list with
	// the input. It is nil where the input was.
	Config map[string]any
	// Masked is how many values were changed.
	Masked int
	// Secrets are what was masked, as far as it is worth looking for elsewhere. nil if
	// there is none.
	Secrets *Secrets
	// SecretEnv are the names of the environment variables that stand where a secret
	// stands, sorted. Only [Rules.Raw] knows them.
	SecretEnv []string
}

// Config masks the secrets of an effective configuration, a tree as confmap's
// ToStringMap gives it, and leaves its input alone. unexpanded is the same
// configuration before its references to providers were replaced; with it, what came
// from a provider is known, without it (nil) all text counts as written by hand.
func (r *Rules) Config(effective, unexpanded map[string]any) Result {
	w := r.newWalk()
	root := written{}
	if unexpanded != nil && !r.keepProvided {
		root.node = unexpanded
	}
	return w.run(effective, root)
}

// Raw masks the secrets of a configuration that still has its references. These stay,
// they tell where a secret comes from; the defaults in them are masked.
func (r *Rules) Raw(unexpanded map[string]any) Result {
	w := r.newWalk()
	w.raw = true
	return w.run(unexpanded, written{})
}

// place is what is known about where a value stands.
type place struct {
	key     string // the nearest key above
	meaning meaning
	depth   int
	// vault: above is a key that says that everything here is secret.
	vault bool
	// headers, params: the keys here are names of headers, of parameters.
	headers, params bool
	// header: what has a name here is a header.
	header bool
	// component: this is a component's own configuration.
	component bool
	// listed: this is an element of a list.
	listed bool
	// denied: a path of the user's covers this.
	denied bool
}

// step is one part of the way from the root. An element of a list has its index for a
// key, and a name where it has one.
type step struct{ key, name string }

// walk is one pass over one configuration.
type walk struct {
	// Fixed at construction.
	rules *Rules
	raw   bool
	paths bool // the rules have paths

	// What the pass has seen.
	scan     scanner
	steps    []step // kept only for paths
	nodes    int
	embedded int // bytes of embedded configurations that may yet be parsed
	masked   int
	allowed  []string // shown because the user says so
	sure     *gathering
	provided *gathering
	env      map[string]struct{}
}

func (r *Rules) newWalk() *walk {
	w := &walk{
		rules:    r,
		paths:    len(r.allow)+len(r.deny) > 0,
		embedded: maxEmbedded,
		sure:     newGathering(),
		provided: newGathering(),
		env:      map[string]struct{}{},
	}
	w.scan = scanner{rules: r, config: true, names: map[string]meaning{}, found: w.sure.add}
	return w
}

func (w *walk) run(config map[string]any, root written) Result {
	if config == nil {
		return Result{}
	}
	out := w.mapping(config, root, place{})
	secrets := w.settle(out)
	return Result{
		Config:    out,
		Masked:    w.masked,
		Secrets:   secrets,
		SecretEnv: slices.Sorted(maps.Keys(w.env)),
	}
}

// value copies a value without its secrets.
func (w *walk) value(v any, from written, p place) any {
	if w.nodes++; w.nodes > maxNodes || p.depth > maxDepth {
		return w.cut(v)
	}
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return w.string(v, from, p)
	case map[string]any:
		return w.mapping(v, from.opened(), p)
	case []any:
		return w.list(v, from.opened(), p)
	case bool:
		return w.keepUnless(p.denied, v)
	case int, int64, uint64, float64, int8, int16, int32, uint, uint8, uint16, uint32, float32:
		return w.number(v, p)
	default:
		return w.other(v, from, p)
	}
}

// cut is what stands below the greatest depth and behind the greatest number of values.
func (w *walk) cut(v any) any {
	if v == nil {
		return nil
	}
	w.masked++
	return Mask
}

func (w *walk) keepUnless(masked bool, v any) any {
	if masked {
		w.masked++
		return Mask
	}
	return v
}

func (w *walk) mapping(m map[string]any, from written, p place) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	name, named := nameOf(m)
	p = p.enter(m, named)
	for _, key := range sortedKeys(m) {
		w.push(step{key: key})
		below := w.below(p, key)
		if named && isValueKey(key) {
			below = w.namedValue(below, p, name)
		}
		out[key] = w.value(m[key], from.at(key), below)
		w.pop()
	}
	return out
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// below is the place of what stands under a key of the map at p.
func (w *walk) below(p place, key string) place {
	q := place{key: key, depth: p.depth + 1, vault: p.vault, denied: p.denied || w.isDenied()}
	switch {
	case w.isComponentName(p):
		// The user's own choice: it says what a component is called.
		q.component = p.depth == 1
	case p.headers:
		q.meaning, q.headers = w.headerMeaning(key), true
	case p.params:
		q.meaning = w.paramMeaning(key)
	default:
		q.meaning = w.scan.meaningOf(key, p.key)
		if p.component && q.meaning.kind == kindPlain && strings.EqualFold(key, "key") && !w.rules.isExcepted(key) {
			q.meaning.kind = kindMaybe // or the name of an attribute
		}
	}
	return q
}

// isComponentName reports whether the keys of the map at p are names of components or
// of pipelines.
func (w *walk) isComponentName(p place) bool {
	return p.depth == 1 && p.key != "service" && slices.Contains(sections, p.key) || p.depth == 2 && p.key == "pipelines"
}

// namedValue is the place of a value whose name stands beside it: an entry of a list of
// headers, of environment variables, of attributes.
func (w *walk) namedValue(value, p place, name string) place {
	switch {
	case p.header:
		value.meaning = w.headerMeaning(name)
	case p.params:
		value.meaning = w.paramMeaning(name)
	default:
		value.meaning = w.scan.meaningOf(name, "")
	}
	value.key = name
	return value
}

func (w *walk) headerMeaning(name string) meaning {
	if w.rules.isExcepted(name) || isIn(plainHeaders, squeeze(name)) && !w.rules.isExtra(name) {
		return meaning{}
	}
	m := secretNoun
	m.plural = !secretHeader(name) // a number is then no credential
	m.setting = isIn(headerFiles, name)
	return m
}

// headerFiles are the keys of a header's map that name files, as in Prometheus'
// http_headers.
var headerFiles = setOf("file", "files")

func (w *walk) paramMeaning(name string) meaning {
	m := w.scan.meaningOf(name, "")
	if m.kind == kindPlain && secretHeader(name) && !w.rules.isExcepted(name) {
		m.kind = kindMaybe
		if hasAny(wordsOf(name), sureParams) {
			m.kind = kindSecret
		}
	}
	return m
}

var sureParams = setOf("key", "password", "pass", "pwd", "secret", "token", "code", "sig", "signature")

// enter is the place within the map m. Beside the name of a header stands what is to be
// done with it, so that keys are names of headers only where no key gives one.
func (p place) enter(m map[string]any, named bool) place {
	p.vault = p.vault || p.meaning.vault && p.meaning.kind == kindSecret && !p.headers
	p.params = p.meaning.kind == kindParams
	p.header = p.headers || p.meaning.kind == kindHeader || p.meaning.kind == kindHeaders
	p.headers = (p.headers || p.meaning.kind == kindHeaders) && !named
	if _, ok := nameIn(m); ok && p.listed {
		p.headers = false
	}
	p.listed = false
	return p
}

func (w *walk) list(list []any, from written, p place) []any {
	if list == nil {
		return nil
	}
	out := make([]any, len(list))
	flag := false
	for i, v := range list {
		q := p
		q.depth++
		q.listed = true
		name, _ := nameOfAny(v)
		w.push(step{key: strconv.Itoa(i), name: name})
		q.denied = p.denied || w.isDenied()
		s, isString := textOf(v)
		if flag && isString && !strings.HasPrefix(s, "-") {
			q.meaning = secretNoun
		}
		out[i] = w.value(v, from.element(i, len(list), v), q)
		flag = isString && w.scan.isSecretFlag(s)
		w.pop()
	}
	return out
}

func (w *walk) number(v any, p place) any {
	secret := p.denied || w.isSecretScalar(p) && !p.meaning.plural && !w.isAllowed()
	if secret {
		w.sure.add(fmt.Sprint(v))
	}
	return w.keepUnless(secret, v)
}

// isSecretScalar reports whether the place alone makes a scalar a secret.
func (w *walk) isSecretScalar(p place) bool {
	return p.denied || p.meaning.kind == kindSecret && !(p.headers && p.meaning.setting) || p.vault && !p.meaning.setting
}

func (w *walk) push(s step) {
	if w.paths {
		w.steps = append(w.steps, s)
	}
}

func (w *walk) pop() {
	if w.paths {
		w.steps = w.steps[:len(w.steps)-1]
	}
}

func (w *walk) isDenied() bool  { return w.paths && w.matches(w.rules.deny) }
func (w *walk) isAllowed() bool { return w.paths && w.matches(w.rules.allow) }

// matches compares the way here with patterns, once as it is and once with the names of
// elements in the place of their indices. The key beside a name is no part of the latter.
func (w *walk) matches(patterns []pathPattern) bool {
	if len(patterns) == 0 {
		return false
	}
	plain, byName := w.ways()
	for _, pattern := range patterns {
		if pattern.match(plain) || byName != nil && pattern.match(byName) {
			return true
		}
	}
	return false
}

func (w *walk) ways() (plain, byName []string) {
	named := false
	for i, s := range w.steps {
		plain = append(plain, strings.ToLower(s.key))
		switch {
		case s.name != "":
			named = true
			byName = append(byName, strings.ToLower(s.name))
		case i > 0 && w.steps[i-1].name != "" && isValueKey(s.key):
		default:
			byName = append(byName, strings.ToLower(s.key))
		}
	}
	if !named || w.steps[len(w.steps)-1].name != "" {
		return plain, nil // the name of an element stands for what is named, not for the element
	}
	return plain, byName
}

// nameKeys are the keys by which the elements of lists are named, the first of them that
// is there.
var nameKeys = [...]string{"name", "key", "header", "header_name", "field", "variable"}

// isValueKey reports whether a key is one under which the value of what is named stands.
func isValueKey(key string) bool {
	switch key {
	case "default", "default_value", "defaultValue", "val", "value", "values":
		return true
	default:
		return false
	}
}

// nameOf is the name in a map that has one and a value beside it.
func nameOf(m map[string]any) (string, bool) {
	if len(m) < 2 {
		return "", false
	}
	for key := range m {
		if isValueKey(key) {
			return nameIn(m)
		}
	}
	return "", false
}

func nameIn(m map[string]any) (string, bool) {
	for _, key := range nameKeys {
		if name, ok := textOf(m[key]); ok && name != "" {
			return name, true
		}
	}
	return "", false
}

// textOf is the string that a value is, in a configuration or in a document within one.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case *yaml.Node:
		return v.Value, v.Kind == yaml.ScalarNode
	default:
		return "", false
	}
}

func nameOfAny(v any) (string, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return "", false
	}
	return nameOf(m)
}
