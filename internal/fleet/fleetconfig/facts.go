// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetconfig

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/redact"
)

// Facts are what is in a config.
type Facts struct {
	// Hash, Variant and Family say with which others it is the same; see the package. In hex.
	Hash, Variant, Family string
	// Label says in a few words what the family does: "otlp, hostmetrics → otlphttp (metrics, traces)".
	Label string
	// Components that the config declares, such as "receiver:otlp/2", sorted.
	Components []string
	// Pipelines, such as "traces/2", sorted.
	Pipelines []string
	// Findings are risky settings, in the order of the rules.
	Findings []Finding
	// Bytes of all files.
	Bytes int
	// Problem says why there is no more than hashes: the config is no YAML or too big. Empty is good.
	Problem string
}

// maxLabelTypes bounds the types that a label names on each side of its arrow.
const maxLabelTypes = 4

// roleRaw marks the file that a Collector's agent may report beside the effective config: the config as it was
// written. It is no second config.
const roleRaw = "raw"

// Main is the file that is the effective config itself, or nil.
func Main(c *fleet.Config) *fleet.ConfigFile {
	if c == nil {
		return nil
	}
	for i := range c.Files {
		if c.Files[i].Name == "" {
			return &c.Files[i]
		}
	}
	for i := range c.Files {
		if c.Files[i].Name != roleRaw && c.Files[i].Role != roleRaw {
			return &c.Files[i]
		}
	}
	return nil
}

// Examine reads a config.
func Examine(c *fleet.Config) Facts {
	f := Facts{Hash: c.Hash()}
	s := shape{}
	lines := lines{}
	for i := range c.Files {
		file := &c.Files[i]
		f.Bytes += len(file.Body)
		if file.Name == roleRaw || file.Role == roleRaw {
			continue
		}
		if file.Body == redact.Mask { // as a whole: neither YAML nor JSON
			lines.add(file.Name, "\x00", file.Body)
			continue
		}
		list, err := entries(file.Body)
		if err != nil {
			f.Problem = err.Error()
			lines.add(file.Name, "\x00", file.Body)
			continue
		}
		s.add(list)
		f.Findings = append(f.Findings, lint(list)...)
		normalize(list)
		lines.grow(file.Name, list)
		for i := range list {
			e := &list[i]
			lines.add(file.Name, "\x00", e.path, "=", e.value)
		}
	}
	f.Variant = lines.digest()
	f.Family, f.Label = s.family()
	f.Components, f.Pipelines = sorted(s.components), sorted(s.pipelines)
	return f
}

// lines are what a variant is made of, in any order. Their bytes are in one piece, for there are hundreds of them.
type lines struct {
	text []byte
	ends []int
}

// grow makes room for entries of a file.
func (l *lines) grow(name string, list []entry) {
	n := 0
	for i := range list {
		n += len(name) + len("\x00=\n") + len(list[i].path) + len(list[i].value)
	}
	l.text, l.ends = slices.Grow(l.text, n), slices.Grow(l.ends, len(list))
}

func (l *lines) add(parts ...string) {
	for _, p := range parts {
		l.text = append(l.text, p...)
	}
	l.text = append(l.text, '\n')
	l.ends = append(l.ends, len(l.text))
}

// digest doesn't depend on the order.
func (l *lines) digest() string {
	sorted, begin := make([][]byte, 0, len(l.ends)), 0
	for _, end := range l.ends {
		sorted = append(sorted, l.text[begin:end])
		begin = end
	}
	slices.SortFunc(sorted, func(a, b []byte) int { return bytes.Compare(a[:len(a)-1], b[:len(b)-1]) })
	h := sha256.New()
	for _, line := range sorted {
		_, _ = h.Write(line)
	}
	return half(h)
}

// digest of lines in their order.
func digest(lines []string) string {
	h := sha256.New()
	for _, l := range lines {
		_, _ = io.WriteString(h, l+"\n")
	}
	return half(h)
}

// half of a SHA-256, in hex: enough to tell configs apart, and short enough to show.
func half(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:sha256.Size/2]) }

func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// shape is what is connected with what.
type shape struct {
	components, pipelines []string
	from, through, to     []string // types
	signals               []string
	keys                  []string // on top
}

// Sections of a Collector's config, and the kinds of what is in them.
var sections = map[string]string{
	"receivers": "receiver", "processors": "processor", "exporters": "exporter", "connectors": "connector", "extensions": "extension",
}

func (s *shape) add(list []entry) {
	connectors := map[string]bool{}
	for i := range list {
		if section, id := list[i].section(); section == "connectors" && id != "" {
			connectors[id] = true
		}
	}
	for i := range list {
		e := &list[i]
		section, id := e.section()
		kind, isSection := sections[section]
		switch {
		case id == "":
			s.keys = append(s.keys, section)
		case isSection && len(e.path) == 1+len(section)+1+len(id):
			s.components = append(s.components, kind+":"+id)
		case section == "service" && id == "pipelines":
			if keys := e.keys(); len(keys) > 2 {
				s.addPipeline(keys[2:], e.value, connectors)
			}
		}
	}
}

// addPipeline takes the name of a pipeline, or what one of its lists has.
func (s *shape) addPipeline(keys []string, value string, connectors map[string]bool) {
	if len(keys) == 1 {
		s.pipelines = append(s.pipelines, keys[0])
		s.signals = append(s.signals, typeOf(keys[0]))
		return
	}
	typ := typeOf(value)
	switch {
	case value == "":
	case connectors[value]:
		s.through = append(s.through, typ)
	case keys[1] == "receivers":
		s.from = append(s.from, typ)
	case keys[1] == "exporters" && !onlyShows(typ):
		s.to = append(s.to, typ)
	}
}

// typeOf "otlp/2" is "otlp".
func typeOf(id string) string {
	typ, _, _ := strings.Cut(id, "/")
	return typ
}

func onlyShows(exporter string) bool {
	return exporter == "debug" || exporter == "logging" || exporter == "nop"
}

func (s *shape) family() (id, label string) {
	from, through, to, signals := sorted(s.from), sorted(s.through), sorted(s.to), sorted(s.signals)
	if len(signals) == 0 {
		keys := sorted(s.keys)
		return digest(append([]string{"keys"}, keys...)), some(keys)
	}
	id = digest([]string{
		strings.Join(from, ","), strings.Join(through, ","), strings.Join(to, ","), strings.Join(signals, ","),
	})
	parts := []string{some(from)}
	if len(through) > 0 {
		parts = append(parts, some(through))
	}
	parts = append(parts, some(to))
	return id, strings.Join(parts, " → ") + " (" + some(signals) + ")"
}

// some is as much of a list as people read.
func some(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	if len(list) > maxLabelTypes {
		return strings.Join(list[:maxLabelTypes], ", ") + ", …"
	}
	return strings.Join(list, ", ")
}
