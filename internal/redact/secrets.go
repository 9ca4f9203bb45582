// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

const (
	maxSecrets       = 1000    // strings a set remembers
	maxSecretsBytes  = 1 << 20 // bytes of them together
	maxSecretLength  = 4096    // longer text does not come back in an error
	minSecretLength  = 6       // shorter text occurs by chance
	minSecretsPrefix = 4       // bytes that an index entry holds; at most minSecretLength
)

// Secrets are strings that were masked once and must not come back in other text,
// as a token does in an exporter's error. A set is bounded, holds the strings
// themselves, and never changes; nil is an empty one. It may be used from several
// goroutines.
type Secrets struct {
	values []string
	index  map[[minSecretsPrefix]byte][]string // by their first bytes, the longest first
	pairs  [1 << 16 / 8]byte                   // which two bytes begin one of them
	bytes  int                                 // about what all of it takes
}

// With is a set that knows values as well, for instance what environment variables
// hold that [Result.SecretEnv] names. Text that is short or common is left out.
func (s *Secrets) With(values ...string) *Secrets {
	g := newGathering()
	if s != nil {
		for _, v := range s.values {
			g.keep(v)
		}
	}
	for _, v := range values {
		g.add(v)
	}
	return g.secrets()
}

// Join is a set that knows what both know, as far as the bounds allow.
func (s *Secrets) Join(other *Secrets) *Secrets {
	g := newGathering()
	for _, set := range [...]*Secrets{s, other} {
		if set == nil {
			continue
		}
		for _, v := range set.values {
			g.keep(v)
		}
	}
	return g.secrets()
}

// secretBytes is about what a set takes for each string besides its text: in a list and in an index.
const secretBytes = 96

// Bytes is about how much memory the set takes.
func (s *Secrets) Bytes() int {
	if s == nil {
		return 0
	}
	return s.bytes
}

// Equal reports whether both know the same.
func (s *Secrets) Equal(other *Secrets) bool {
	if s == other {
		return true
	}
	if s.Len() == 0 || other.Len() == 0 {
		return s.Len() == other.Len()
	}
	return slices.Equal(s.values, other.values)
}

// Len is how many strings are known.
func (s *Secrets) Len() int {
	if s == nil {
		return 0
	}
	return len(s.values)
}

// mask replaces what is known in text. Text that reads like a word is replaced only
// where it stands alone.
func (s *Secrets) mask(text string) string {
	if s.Len() == 0 || len(text) < minSecretLength {
		return text
	}
	r := rewriter{src: text}
	for i := 0; i+minSecretLength <= len(text); {
		if n := s.at(text, i); n > 0 {
			r.replace(i, i+n, Mask)
			i += n
			continue
		}
		i++
	}
	return r.String()
}

// cutMarks end a text that was cut off.
var cutMarks = [...]string{"…", "..."}

// maskEnd replaces the beginning of what is known at the end of a text, which is there
// when the text was cut off in the middle of it. One that does not say so must end with
// more of it, for a little may be there by chance.
func (s *Secrets) maskEnd(text string) string {
	if s.Len() == 0 {
		return text
	}
	body, mark, least := text, "", minRandom
	for _, m := range cutMarks {
		if cut, ok := strings.CutSuffix(text, m); ok {
			body, mark, least = cut, m, minSecretLength
			break
		}
	}
	if strings.HasSuffix(body, Mask) {
		return text // which a secret may begin like
	}
	from := len(body)
	for _, v := range s.values {
		for n := min(len(v)-1, len(body)); n >= least; n-- {
			if body[len(body)-n] == v[0] && strings.HasSuffix(body, v[:n]) {
				from = min(from, len(body)-n)
				break
			}
		}
	}
	if from == len(body) {
		return text
	}
	return body[:from] + Mask + mark
}

// at is the length of the longest known string at i.
func (s *Secrets) at(text string, i int) int {
	if pair := int(text[i])<<8 | int(text[i+1]); s.pairs[pair>>3]&(1<<(pair&7)) == 0 {
		return 0
	}
	for _, v := range s.index[[minSecretsPrefix]byte([]byte(text[i:i+minSecretsPrefix]))] {
		if strings.HasPrefix(text[i:], v) && (isOpaque(v) || standsAlone(text, i, i+len(v))) {
			return len(v)
		}
	}
	return 0
}

func standsAlone(text string, from, to int) bool {
	return (from == 0 || !isClass(text[from-1], alnum)) && (to == len(text) || !isClass(text[to], alnum))
}

// quotes writes text as it stands between quotes.
var quotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// gathering collects secrets during a walk.
type gathering struct {
	known map[string]struct{}
	bytes int
}

func newGathering() *gathering { return &gathering{known: map[string]struct{}{}} }

// add remembers a secret in the forms in which it may come back.
func (g *gathering) add(v string) {
	v = strings.TrimSpace(v)
	if scheme, rest, ok := strings.Cut(v, " "); ok && isIn(authSchemes, strings.ToLower(scheme)) {
		v = strings.TrimSpace(rest)
	}
	if len(v) < minSecretLength || strings.Contains(v, Mask) || isPlainValue(v) && !isNumber(v) || isIn(commonWords, strings.ToLower(v)) {
		return
	}
	g.keep(v)
	if !allOf(v, alnum) {
		g.keep(url.QueryEscape(v))
		g.keep(url.PathEscape(v))
		g.keep(quotes.Replace(v))
	}
}

func (g *gathering) keep(v string) {
	if _, ok := g.known[v]; ok || strings.Contains(Mask, v) || len(v) > maxSecretLength || len(g.known) >= maxSecrets || g.bytes+len(v) > maxSecretsBytes {
		return
	}
	g.known[v] = struct{}{}
	g.bytes += len(v)
}

func (g *gathering) secrets() *Secrets {
	if len(g.known) == 0 {
		return nil
	}
	s := &Secrets{index: make(map[[minSecretsPrefix]byte][]string, len(g.known))}
	s.bytes = len(s.pairs) + secretBytes*len(g.known) + g.bytes
	for v := range g.known {
		s.values = append(s.values, v)
	}
	slices.SortFunc(s.values, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	for _, v := range s.values {
		prefix := [minSecretsPrefix]byte([]byte(v[:minSecretsPrefix]))
		s.index[prefix] = append(s.index[prefix], v)
		pair := int(v[0])<<8 | int(v[1])
		s.pairs[pair>>3] |= 1 << (pair & 7)
	}
	return s
}

// commonWords stand for passwords in examples and in names all the same.
var commonWords = setOf("access", "account", "agents", "apikey", "bearer", "changeit", "changeme", "client", "collector",
	"cookie", "credentials", "database", "default", "disabled", "elastic", "enabled", "example", "exporter", "false",
	"gateway", "grafana", "graphite", "header", "headers", "honeycomb", "ingest", "internal", "kibana", "localhost",
	"logger", "metric", "metrics", "monitor", "mysql", "opentelemetry", "oracle", "otelcol", "otlphttp", "passwd",
	"password", "postgres", "private", "processor", "prometheus", "public", "rabbitmq", "readonly", "receiver", "redacted",
	"redis", "request", "response", "sample", "secret", "server", "service", "session", "splunk", "status", "system",
	"telemetry", "tenant", "traces", "unauthorized", "username", "workspace")
