// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"

	"github.com/otel-fleetview/fleetview/internal/opamptest/plantedfleet"
)

// TestAnOperatorsQuestions starts at the overview each time and holds that what is planted is found within two clicks.
func TestAnOperatorsQuestions(t *testing.T) {
	t.Parallel()
	p := servePlanted(t)
	b := openBrowser(t)
	rows := func(n int) string {
		return fmt.Sprintf(`document.querySelectorAll("tbody#rows > tr").length === %d`, n)
	}
	reads := func(text string) string {
		return fmt.Sprintf(`document.body.innerText.replace(/\s+/g, " ").toLowerCase().includes(%q)`, strings.ToLower(text))
	}
	for _, q := range []struct {
		question string
		clicks   []string // the text of a link, and of the heading that it is under
		truths   []string // that the page then shows
	}{
		{
			question: "which collectors are unhealthy now, and how many, by cluster",
			truths:   []string{reads("18 unhealthy"), reads("14 unhealthy of 86"), reads("prod-us")},
		},
		{
			question: "which collectors are unhealthy now",
			clicks:   []string{"Unhealthy"},
			truths:   []string{rows(plantedfleet.Refused + plantedfleet.Forbidden + plantedfleet.Expired), reads("node-004")},
		},
		{
			question: "which component, in which pipeline, with which error",
			clicks:   []string{"receiver:filelog"},
			truths: []string{
				rows(plantedfleet.Forbidden), reads("receiver:filelog in logs"), reads("open /var/log/app/service-100.log: permission denied"),
			},
		},
		{
			question: "since when",
			clicks:   []string{"exporter:otlp", "gateway"},
			truths:   []string{reads("What fails"), reads("certificate has expired"), reads("for 2 h"), reads("Since 20")},
		},
		{
			question: "what changed in the last hour",
			clicks:   []string{"All of them"},
			truths:   []string{reads("30 shown"), `document.querySelector("th[aria-sort]") === null`},
		},
		{
			question: "what happened just before",
			clicks:   []string{"Lost", "edge-agent"},
			truths:   []string{reads("Timeline"), `[...document.querySelectorAll("#timeline .badge")].some((b) => b.textContent === "Lost")`},
		},
		{
			question: "what changed just before",
			clicks:   []string{"exporter:otlphttp", "edge-agent"},
			truths:   []string{reads("What changed just before"), reads("2 min before"), reads("Diff to previous"), reads("Compare with earlier")},
		},
		{
			question: "how far a version has come, who lacks it, and who failed since",
			clicks:   []string{"Roll-out"},
			truths: []string{
				reads("Have it 173 of 199"), reads("Don't have it yet 26"), reads("node-012"), reads("got it 50 min ago"),
				`document.querySelector("svg.rollout path.have") !== null`,
			},
		},
		{
			question: "how far a config has come",
			clicks:   []string{"filelog, hostmetrics, otlp → otlphttp (logs, metrics, traces)", "Roll-out"},
			truths:   []string{reads("Roll-out Config"), reads("Have it 133 of 140")},
		},
		{
			question: "who starts again and again",
			clicks:   []string{"Started anew as another instance"},
			truths:   []string{rows(1), reads("node-185")},
		},
		{
			question: "which hosts have no collector any more",
			clicks:   []string{"Hosts where none is left"},
			truths:   []string{reads("node-030"), reads("node-050")},
		},
		{
			question: "who has a component that upstream gave up",
			clicks:   []string{"removed-component"},
			truths:   []string{reads("logs-shipper"), rows(20)},
		},
		{
			question: "who comes and goes",
			clicks:   []string{"edge-agent on node-081"},
			truths:   []string{`[...document.querySelectorAll("#timeline .badge")].filter((b) => b.textContent === "Came back").length >= 4`, reads("was lost")},
		},
		{
			question: "who else has the same failure",
			clicks:   []string{"All problems"},
			truths:   []string{reads("3 problems in 18 collectors"), reads("12 collectors"), reads("dial tcp <addr>: connect: connection refused")},
		},
		{
			question: "which versions run, and who lags",
			clicks:   []string{"26 older"},
			truths:   []string{rows(plantedfleet.Older), reads(plantedfleet.LastVersion), reads(plantedfleet.OldVersion)},
		},
		{
			question: "which configs run",
			clicks:   []string{"filelog, hostmetrics, otlp → otlphttp (logs, metrics, traces)"},
			truths:   []string{reads("7 drifted"), reads("of 4 families"), reads("Most")},
		},
		{
			question: "who drifted from the group",
			clicks:   []string{"7 drifted"},
			truths:   []string{rows(plantedfleet.Drifted + plantedfleet.Secrets), reads("node-060")},
		},
		{
			question: "what differs",
			clicks:   []string{"filelog, hostmetrics, otlp → otlphttp (logs, metrics, traces)", "Diff"},
			truths:   []string{reads("What differs"), reads("timeout: 5s"), reads("timeout: 200ms"), reads("insecure_skip_verify: true")},
		},
		{
			question: "who disappeared: lost",
			clicks:   []string{"Lost"},
			truths:   []string{rows(plantedfleet.Lost), reads("node-030")},
		},
		{
			question: "who disappeared: silent",
			clicks:   []string{"Silent"},
			truths:   []string{rows(plantedfleet.Silent), reads("node-040")},
		},
		{
			question: "who disappeared: said goodbye",
			clicks:   []string{"Goodbye"},
			truths:   []string{rows(plantedfleet.Goodbyes), reads("node-050")},
		},
		{
			question: "what is not covered: two collectors on a host",
			clicks:   []string{plantedfleet.SharedHost},
			truths:   []string{rows(2)},
		},
		{
			question: "whether instance UIDs are shared",
			clicks:   []string{"7"},
			truths:   []string{reads("Two connections spoke for one instance UID 7")},
		},
		{
			question: "secrets in configs",
			clicks:   []string{"secret"},
			truths:   []string{rows(plantedfleet.Secrets), reads("node-070")},
		},
		{
			question: "risky settings in configs",
			clicks:   []string{"tls-skip-verify", "edge-agent"},
			truths:   []string{reads("1 risky setting"), reads("Effective config")},
		},
	} {
		t.Run(q.question, func(t *testing.T) {
			assert.LessOrEqual(t, len(q.clicks), 2)
			b.do(t, "the overview does not load", wide, light, chromedp.Navigate(p.url+"/"))
			for _, text := range q.clicks {
				b.clickOn(t, text)
			}
			for _, truth := range q.truths {
				b.until(t, truth)
			}
		})
	}
	b.assertNoComplaints(t)
}

// clickOn clicks on the first link of the page whose text this is, but for the numbers beside it.
func (b *browser) clickOn(t *testing.T, text string) {
	t.Helper()
	const mark = "data-the-one"
	b.until(t, fmt.Sprintf(`(() => {
		const text = (a) => a.textContent.trim();
		const one = [...document.querySelectorAll("main a:not(svg a)")].find((a) => text(a) === %[1]q ||
			text(a).replace(/^\d+\s*/, "") === %[1]q);
		one?.setAttribute(%[2]q, "");
		return Boolean(one);
	})()`, text, mark))
	b.do(t, text+" can't be clicked", chromedp.Click(chromedp.CSS("["+mark+"]")))
	// On the way from one page to the next there is none to ask.
	gone := fmt.Sprintf(`!document.querySelector("[%s]") && document.readyState === "complete"`, mark)
	eventually(t, gone, func() bool {
		there, err := chromedp.Run(b.Context, chromedp.Evaluate[bool](gone))
		return err == nil && there
	})
}

// TestTheKeyboardAlone walks through the pages without a pointer.
func TestTheKeyboardAlone(t *testing.T) {
	t.Parallel()
	p := servePlanted(t)
	b := openBrowser(t)
	focus := func(what string) string { return fmt.Sprintf(`document.activeElement?.matches(%q)`, what) }
	press := func(keys string) {
		t.Helper()
		b.do(t, "a key can't be pressed", chromedp.KeyEvent(keys))
	}
	// tabTo presses Tab until the focus is on something, as many times as somebody would put up with.
	tabTo := func(what string, most int) {
		t.Helper()
		for range most {
			press(kb.Tab)
			if evaluate[bool](t, b, "Boolean("+focus(what)+")") {
				assert.True(t, evaluate[bool](t, b, `document.activeElement.matches(":focus-visible")`), "the focus can't be seen")
				return
			}
		}
		t.Fatalf("%s is not within %d tabs: %s", what, most, evaluate[string](t, b, "document.activeElement.outerHTML"))
	}

	b.do(t, "the overview does not load", wide, light, chromedp.Navigate(p.url+"/"))
	tabTo("a.skip", 1)
	press(kb.Enter)
	b.until(t, focus("main"))
	tabTo(".tile", 1)

	b.do(t, "the overview does not load again", chromedp.Navigate(p.url+"/"))
	tabTo(`.places a[href="/agents"]`, 4)
	press(kb.Enter)
	b.until(t, `document.querySelector(".places [aria-current=page]")?.textContent === "Collectors"`)
	b.until(t, `document.querySelector("#live-state").dataset.state === "live"`)

	// The query, with its suggestions.
	b.do(t, "a key can't be pressed", slash)
	b.until(t, focus("#q"))
	press("sta") // which finds many itself, as does each letter before it
	b.until(t, `document.querySelector("#suggestions")?.innerText.includes("status:")`)
	press(kb.ArrowDown)
	b.until(t, `document.getElementById(document.activeElement.getAttribute("aria-activedescendant"))?.getAttribute("aria-selected") === "true"`)
	press(kb.Enter)
	b.until(t, `document.querySelector("#q").value === "status:"`)
	b.until(t, `document.querySelector("#suggestions")?.innerText.includes("failing")`)
	b.until(t, `document.querySelector("#query-error") !== null`)
	assert.True(t, evaluate[bool](t, b, `document.querySelectorAll("tbody#rows tr").length > 18`), "what was found before stays")
	press("fail")
	b.until(t, `document.querySelector("#suggestions li:only-child")?.dataset.before === "status:failing"`)
	press(kb.ArrowDown)
	press(kb.Enter)
	b.until(t, `document.querySelectorAll("tbody#rows tr").length === 18`)
	b.until(t, `location.search === "?q=status%3Afailing+" || location.search === "?q=status%3Afailing%20"`)
	assert.True(t, evaluate[bool](t, b, focus("#q")), "the focus stays where one types")
	press("nonsense:x")
	b.until(t, `document.querySelector("#query-error")?.innerText.includes("nonsense")`)
	for range "nonsense:x" {
		press(kb.Backspace)
	}
	b.until(t, `!document.querySelector("#query-error") && document.querySelectorAll("tbody#rows tr").length === 18`)

	// A filter, then one collector.
	tabTo(".facet a.check", 30)
	press(kb.Enter)
	b.until(t, `document.querySelector(".check.picked") !== null && document.querySelectorAll("tbody#rows tr").length < 18`)
	b.until(t, focus("a.check.picked"))
	tabTo("#rows a.name", 60)
	press(kb.Enter)
	b.until(t, `document.querySelector("#pipelines svg.graph") !== null`)
	tabTo(`a[href="#pipelines"]`, 20)
	tabTo(".switch a:last-child", 20)
	press(kb.Enter)
	b.until(t, `document.querySelector("#pipelines table") !== null && location.search === "?pipelines=table"`)
	b.assertFits(t)
}

// TestWhatIsUnderThePointerStays has the order of a list change while a pointer is on it.
func TestWhatIsUnderThePointerStays(t *testing.T) {
	t.Parallel()
	p := servePlanted(t)
	b := openBrowser(t)
	b.do(t, "the list does not load", wide, light, chromedp.Navigate(p.url+"/agents"))
	b.until(t, `document.querySelector("#live-state").dataset.state === "live"`)
	first := evaluate[string](t, b, `document.querySelector("tbody#rows tr").id`)
	b.do(t, "nothing can be pointed to", b.pointTo(t, "tbody#rows tr:nth-child(2)"))
	plantedfleet.Heal(p.fleet, 5, time.Now())
	b.until(t, fmt.Sprintf(`document.getElementById(%q).classList.contains("is-ok")`, first))
	assert.Equal(t, first, evaluate[string](t, b, `document.querySelector("tbody#rows tr").id`), "the row moved")
	b.until(t, `!document.querySelector("#held").hidden && /\d+ entr(y|ies) changed/.test(document.querySelector("#held").innerText)`)
	b.picture(t, "held")
	b.do(t, "it can't be shown", chromedp.Click(chromedp.CSS("#held-show")))
	b.until(t, fmt.Sprintf(`document.querySelector("tbody#rows tr").id !== %q && document.querySelector("#held").hidden`, first))
}

// slash presses the key as a keyboard does, so that a page may take it: chromedp sends what it writes by itself.
var slash = chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
	_, err := cdp.Call(ctx, tab, input.DispatchKeyEvent, input.DispatchKeyEventParams{
		Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Code: "Slash", Text: "/", WindowsVirtualKeyCode: 191,
	})
	return err
})
