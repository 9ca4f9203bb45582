// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// violations has axe look at the page, and is a line for each barrier that it finds: the rule and the elements.
const violations = `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) =>
	v.id + ": " + v.help + ": " + v.nodes.slice(0, 5).map((n) => n.target.join(" ") + " " + n.html.slice(0, 160)).join(" | ")))`

// TestPagesHaveNoBarriers holds every page, in light and in dark, against axe-core's rules.
func TestPagesHaveNoBarriers(t *testing.T) {
	t.Parallel()
	axe := axeCore(t)
	p, empty := servePlanted(t), servePages(t)
	b := openBrowser(t)
	addresses := map[string]string{
		"missing":          p.url + "/agents/" + "nobody",
		"collectors-wrong": p.url + "/agents?q=staus%3Afailing",
		"empty-overview":   empty.url + "/",
		"empty-problems":   empty.url + "/problems",
		"empty-configs":    empty.url + "/configs",
		"empty-rollout":    empty.url + "/rollout",
		"rollout-wrong":    p.url + "/rollout?q=staus%3Ax",
	}
	for _, page := range p.all(t) {
		addresses[page.name] = p.url + page.path
	}
	for name, url := range addresses {
		for scheme, colours := range map[string]action{"light": light, "dark": dark} {
			b.do(t, name+" does not load", wide, colours, chromedp.Navigate(url))
			evaluate[any](t, b, axe+"; null")
			// What is folded shut is to be without barriers, too.
			evaluate[any](t, b, `for (const d of document.querySelectorAll("details")) d.open = true; null`)
			b.until(t, "!document.getAnimations().some((a) => a instanceof CSSTransition)")
			assert.Empty(t, awaited[[]string](t, b, violations), "%s, %s", name, scheme)
		}
	}
	t.Logf("%d pages, each light and dark", len(addresses))
}

func axeCore(t *testing.T) string {
	t.Helper()
	file := os.Getenv("FLEETVIEW_AXE")
	if file == "" {
		file = filepath.Join("..", "..", ".tools", "axe", "node_modules", "axe-core", "axe.min.js")
	}
	source, err := os.ReadFile(file)
	require.NoError(t, err, "install it first: make e2e does")
	require.Contains(t, string(source[:min(len(source), 100)]), "axe v4.", "%s is no axe-core", file)
	return string(source)
}
