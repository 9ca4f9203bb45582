// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDocumentNodes bounds the values of a [Rules.Document], aliases followed.
const maxDocumentNodes = 500_000

// Document masks the secrets of a whole configuration that is a text, YAML or JSON, as it comes from somewhere else.
// Order and comments stay, and a text without secrets stays as it is. A text that is neither, or that has too many
// values, is masked as a whole: where its secrets stand can't be known, and secrets are those that can be guessed. masked is how many values and comments were
// changed; secrets are as in [Result].
func (r *Rules) Document(s string) (out string, masked int, secrets *Secrets) {
	if strings.TrimSpace(s) == "" || s == Mask {
		return s, 0, nil
	}
	docs, trees, err := parseDocuments(s, maxDocumentNodes)
	if err != nil {
		return Mask, 1, r.secretsIn(s)
	}
	w := r.newWalk()
	for _, tree := range trees {
		w.value(tree, written{}, place{})
	}
	e := documentEcho{rules: r, known: w.surelySecret()}
	for _, doc := range docs {
		e.node(doc, 0)
	}
	if masked = w.masked + e.masked; masked == 0 {
		return s, 0, nil
	}
	if out, err = printDocuments(docs); err != nil {
		return Mask, masked, w.sure.secrets()
	}
	if !strings.HasSuffix(s, "\n") {
		out = strings.TrimSuffix(out, "\n")
	}
	return out, masked, w.sure.secrets()
}

// surelySecret are those of the secrets that can be nothing else, and so are masked wherever they stand.
func (w *walk) surelySecret() *Secrets {
	sure := newGathering()
	for v := range w.sure.known {
		if isSurelySecret(v) && !w.isShown(v) {
			sure.keep(v)
		}
	}
	return sure.secrets()
}

// documentEcho is the second pass over a document: what was masked may stand elsewhere, and comments may tell anything.
type documentEcho struct {
	rules  *Rules
	known  *Secrets
	masked int
}

func (e *documentEcho) node(n *yaml.Node, depth int) {
	if depth > 2*maxDepth {
		return // below, all was masked
	}
	for _, comment := range []*string{&n.HeadComment, &n.LineComment, &n.FootComment} {
		e.replace(comment, e.rules.Text(*comment, e.known))
	}
	if n.Kind == yaml.ScalarNode {
		e.replace(&n.Value, e.known.mask(n.Value))
	}
	for _, below := range n.Content {
		e.node(below, depth+1)
	}
}

func (e *documentEcho) replace(s *string, by string) {
	if *s != by {
		*s = by
		e.masked++
	}
}
