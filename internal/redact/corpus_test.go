// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const (
	corpusDir       = "../../testdata/redaction"
	unexpandedTwin  = ".unexpanded.yaml"
	textsFile       = "texts.yaml"
	minimumKinds    = 40
	minimumCanaries = 150
	minimumKept     = 0.99
)

// canaryMark encloses a planted secret and says in what kind of place it hides. The
// loader takes the marks out, and the dots that keep scanners of code from taking a
// planted token for a lost one.
var canaryMark = regexp.MustCompile(`(?s)⟦([a-z-]+):(.*?)⟧`)

type canary struct {
	name string // its kind and a number
	kind string
	text string
}

// needles are what must not be found in the output: the secret, or the lines of one that
// has several.
func (c canary) needles() []string {
	var out []string
	for _, line := range strings.FieldsFunc(c.text, func(r rune) bool { return r == '\n' }) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") || !strings.Contains(c.text, "\n") {
			out = append(out, line)
		}
	}
	return out
}

// planter takes the marks out of a tree.
type planter struct {
	canaries []canary
	numbers  map[string]int // by kind
	ideal    map[string]any // leaves with canaries, by path, as they should come out
}

func newPlanter() *planter { return &planter{numbers: map[string]int{}, ideal: map[string]any{}} }

func (p *planter) tree(path string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			v[key] = p.tree(path+"::"+key, v[key])
		}
	case []any:
		for i := range v {
			v[i] = p.tree(path+"::"+strconv.Itoa(i), v[i])
		}
	case string:
		return p.text(path, v)
	}
	return v
}

func (p *planter) text(path, s string) any {
	if !strings.Contains(s, "⟦") {
		return s
	}
	p.ideal[path] = canaryMark.ReplaceAllString(s, Mask)
	number := false
	plain := canaryMark.ReplaceAllStringFunc(s, func(mark string) string {
		m := canaryMark.FindStringSubmatch(mark)
		text := strings.ReplaceAll(m[2], "·", "")
		p.numbers[m[1]]++
		number = m[1] == "key-number"
		p.canaries = append(p.canaries, canary{name: fmt.Sprintf("%s-%04d", m[1], p.numbers[m[1]]), kind: m[1], text: text})
		return text
	})
	if number {
		n, err := strconv.Atoi(plain)
		if err != nil {
			panic(err)
		}
		return n
	}
	return plain
}

// count is what came of one kind of hiding place.
type count struct{ planted, leaked int }

// report is what came of a corpus.
type report struct {
	kinds      map[string]*count
	leaked     []string
	ordinary   int
	overMasked []string
	inexact    []string
}

func newReport() *report { return &report{kinds: map[string]*count{}} }

func (r *report) kind(name string) *count {
	if r.kinds[name] == nil {
		r.kinds[name] = &count{}
	}
	return r.kinds[name]
}

// canaries looks for planted secrets in what would leave.
func (r *report) canaries(where string, planted []canary, output string) {
	for _, c := range planted {
		k := r.kind(c.kind)
		k.planted++
		for _, needle := range c.needles() {
			if strings.Contains(output, needle) {
				k.leaked++
				r.leaked = append(r.leaked, fmt.Sprintf("%s: %s: %s", where, c.name, needle))
				break
			}
		}
	}
}

// compare counts ordinary values that were changed, and values around canaries that
// lost more than these.
func (r *report) compare(where string, p *planter, in, out any) {
	eachLeaf("", in, out, func(path string, in, out any) {
		ideal, planted := p.ideal[path]
		switch {
		case !planted:
			r.ordinary++
			if !assert.ObjectsAreEqual(in, out) {
				r.overMasked = append(r.overMasked, fmt.Sprintf("%s%s: %q became %q", where, path, fmt.Sprint(in), fmt.Sprint(out)))
			}
		case !assert.ObjectsAreEqual(ideal, out):
			r.inexact = append(r.inexact, fmt.Sprintf("%s%s: %q, ideally %q", where, path, fmt.Sprint(out), fmt.Sprint(ideal)))
		}
	})
}

func eachLeaf(path string, in, out any, visit func(path string, in, out any)) {
	switch in := in.(type) {
	case map[string]any:
		below, _ := out.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(in)) {
			eachLeaf(path+"::"+key, in[key], below[key], visit)
		}
	case []any:
		below, _ := out.([]any)
		for i := range in {
			var v any
			if i < len(below) {
				v = below[i]
			}
			eachLeaf(path+"::"+strconv.Itoa(i), in[i], v, visit)
		}
	default:
		visit(path, in, out)
	}
}

// printed is everything that a reader of the output could see: YAML, and the strings
// as they are, without what YAML does to them.
func printed(t *testing.T, tree map[string]any) string {
	t.Helper()
	text, err := yaml.Marshal(tree)
	require.NoError(t, err)
	var again map[string]any
	require.NoError(t, yaml.Unmarshal(text, &again), "the output must stay YAML")
	var b strings.Builder
	b.Write(text)
	eachLeaf("", tree, tree, func(_ string, v, _ any) { fmt.Fprintln(&b, v) })
	return b.String()
}

func readYAML(tb testing.TB, name string) map[string]any {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(corpusDir, name))
	require.NoError(tb, err)
	var tree map[string]any
	require.NoError(tb, yaml.Unmarshal(text, &tree), name)
	return tree
}

func corpusFiles(tb testing.TB) []string {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join(corpusDir, "*.yaml"))
	require.NoError(tb, err)
	var out []string
	for _, name := range names {
		if name = filepath.Base(name); name != textsFile && !strings.HasSuffix(name, unexpandedTwin) {
			out = append(out, name)
		}
	}
	return out
}

// componentKinds are the kinds that a configuration has components of.
func componentKinds(tree map[string]any, kinds map[string]struct{}) {
	for _, section := range []string{"receivers", "processors", "exporters", "connectors", "extensions"} {
		components, _ := tree[section].(map[string]any)
		for id := range components {
			kind, _, _ := strings.Cut(id, "/")
			kinds[strings.TrimSuffix(section, "s")+" "+kind] = struct{}{}
		}
	}
}

func TestCorpus(t *testing.T) {
	rules := mustRules(t, Options{})
	total, kinds, seen := newReport(), map[string]struct{}{}, map[string]string{}
	for _, name := range corpusFiles(t) {
		tree := readYAML(t, name)
		componentKinds(tree, kinds)
		p := newPlanter()
		p.tree("", tree)
		var unexpanded map[string]any
		twin := strings.TrimSuffix(name, ".yaml") + unexpandedTwin
		if _, err := os.Stat(filepath.Join(corpusDir, twin)); err == nil {
			unexpanded = readYAML(t, twin)
			checkRaw(t, rules, total, twin, unexpanded)
			unexpanded = readYAML(t, twin)
			newPlanter().tree("", unexpanded)
		}
		for _, c := range p.canaries {
			if other, ok := seen[c.text]; ok && c.kind != "echo" {
				t.Errorf("%s: %s is planted in %s as well", name, c.name, other)
			}
			seen[c.text] = name
		}
		result := rules.Config(tree, unexpanded)
		total.canaries(name, p.canaries, printed(t, result.Config))
		total.compare(name, p, tree, result.Config)

		again := rules.Config(result.Config, unexpanded)
		assert.Equal(t, result.Config, again.Config, "%s: masking twice is masking once", name)
		assert.Zero(t, again.Masked, "%s: nothing is left to mask", name)
	}
	checkTexts(t, rules, total)
	total.print(t, len(kinds))
	assert.GreaterOrEqual(t, len(kinds), minimumKinds, "kinds of components")
	assert.GreaterOrEqual(t, len(seen), minimumCanaries, "planted secrets")
}

// checkRaw masks an unexpanded configuration: references stay, defaults and literals
// don't.
func checkRaw(t *testing.T, rules *Rules, total *report, name string, tree map[string]any) {
	t.Helper()
	p := newPlanter()
	p.tree("", tree)
	result := rules.Raw(tree)
	total.canaries(name, p.canaries, printed(t, result.Config))
	total.compare(name, p, tree, result.Config)
	eachLeaf("", tree, result.Config, func(path string, in, out any) {
		s, _ := in.(string)
		assert.Equal(t, strings.Count(s, refBegin), strings.Count(fmt.Sprint(out), refBegin), "%s%s: references stay", name, path)
	})
	again := rules.Raw(result.Config)
	assert.Equal(t, result.Config, again.Config, "%s: masking twice is masking once", name)
}

func checkTexts(t *testing.T, rules *Rules, total *report) {
	t.Helper()
	tree := readYAML(t, textsFile)
	p := newPlanter()
	p.tree("", tree)
	out := map[string]any{}
	for group, texts := range tree {
		var masked []any
		for _, text := range texts.([]any) {
			once := rules.Text(text.(string), nil)
			assert.Equal(t, once, rules.Text(once, nil), "masking twice is masking once")
			masked = append(masked, once)
		}
		out[group] = masked
	}
	total.canaries(textsFile, p.canaries, printed(t, out))
	total.compare(textsFile, p, tree, out)
}

func (r *report) print(t *testing.T, kinds int) {
	t.Helper()
	planted, leaked := 0, 0
	for _, name := range slices.Sorted(maps.Keys(r.kinds)) {
		k := r.kinds[name]
		planted, leaked = planted+k.planted, leaked+k.leaked
		t.Logf("%-20s %3d planted, %d leaked", name, k.planted, k.leaked)
	}
	kept := r.ordinary - len(r.overMasked)
	share := float64(kept) / float64(r.ordinary)
	t.Logf("%d kinds of components, %d planted secrets, %d leaked", kinds, planted, leaked)
	t.Logf("%d ordinary values, %d kept (%.2f %%), %d over-masked", r.ordinary, kept, 100*share, len(r.overMasked))
	for _, line := range r.overMasked {
		t.Log("over-masked: " + line)
	}
	for _, line := range r.inexact {
		t.Log("more masked than the secret: " + line)
	}
	assert.Empty(t, r.leaked)
	assert.GreaterOrEqual(t, share, minimumKept, "share of ordinary values that stay")
}

func mustRules(tb testing.TB, o Options) *Rules {
	tb.Helper()
	rules, err := New(o)
	require.NoError(tb, err)
	return rules
}
