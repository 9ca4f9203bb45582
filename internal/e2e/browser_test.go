// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// browser is one tab of a Chromium without a window.
type browser struct {
	context.Context

	mu         sync.Mutex
	complaints []string // guarded by mu: what the page threw, and warnings and errors of its console
}

// openBrowser starts Chromium. It ends with the test.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path := os.Getenv("CHROMIUM")
	if path == "" {
		path = "chromium"
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // root has none
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{Context: ctx}
	require.NoError(t, chromedp.Listen(ctx, b.listen), "chromium does not start")
	return b
}

func (b *browser) listen(event any) {
	var complaint string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			complaint = e.ExceptionDetails.Exception.Description
		}
	case *log.EventEntryAdded:
		complaint = fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, complaint)
}

// do has the tab do something, and fails with what is wrong if it can't.
func (b *browser) do(t *testing.T, wrong string, actions ...action) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.Context, patience)
	defer cancel()
	require.NoError(t, chromedp.Do(ctx, actions...), wrong)
}

// evaluate is the value of an expression in the page.
func evaluate[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.Context, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(t, err)
	return value
}

// awaited is what the promise that an expression of the page makes comes to.
func awaited[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.Context, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(t, err)
	return value
}

// until waits until an expression is true in the page.
func (b *browser) until(t *testing.T, expression string) {
	t.Helper()
	eventually(t, expression, func() bool { return evaluate[bool](t, b, "Boolean(("+expression+"))") })
}

// sees waits until the page shows all the texts, as a person would read them.
func (b *browser) sees(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		b.until(t, fmt.Sprintf("document.body.innerText.toLowerCase().includes(%q)", strings.ToLower(text)))
	}
}

// picture saves the whole page as the browser shows it.
func (b *browser) picture(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("FLEETVIEW_SCREENSHOTS")
	if dir == "" {
		dir = filepath.Join("..", "..", "build-e2e", "screenshots")
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	// From the top, and nothing on its way from one colour or width to another.
	b.until(t, "scrollTo(0, 0), !document.getAnimations().some((a) => a instanceof CSSTransition)")
	ctx, cancel := context.WithTimeout(b.Context, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	require.NoError(t, err, "no picture can be taken")
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600))
}

type action = chromedp.Action[chromedp.Void]

// What the page is looked at with.
var (
	wide   = chromedp.EmulateViewport(1280, 800)
	narrow = chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateScale(2))
	light  = colours("light")
	dark   = colours("dark")
)

func colours(scheme string) action {
	params := emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, params)
		return err
	})
}

// TestPage looks at a fleet as a person does: the list, one collector, its failure and its recovery,
// each on a page that is loaded once.
func TestPage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	b := openBrowser(t)
	b.do(t, "the page does not load", wide, light, chromedp.Navigate("http://"+f.web+"/agents"))
	b.sees(t, "No collector has reported yet", "ws://"+f.agents+"/v1/opamp")
	b.picture(t, "empty")
	b.markAsLoaded(t)

	c, e := f.startAgent(t, "ws")
	f.startAgent(t, "http")
	b.until(t, `document.querySelectorAll("tbody#rows tr.is-ok").length === 2`)
	b.sees(t, "otelcol-fleetview-e2e", "Healthy")
	b.picture(t, "list")

	const failure = "cannot reach backend.example.com:4317"
	ordered := time.Now()
	e.report(t, "StatusRecoverableError", failure)
	b.sees(t, failure)
	t.Logf("the list shows the failure after %v", time.Since(ordered).Round(time.Millisecond))
	b.picture(t, "list-failing")
	b.assertNotReloaded(t)

	b.do(t, "one collector's page does not load",
		chromedp.Click(chromedp.CSS("tr.is-warn a.name, tr.is-bad a.name")), chromedp.WaitVisible(chromedp.CSS("#problems")))
	b.markAsLoaded(t)
	b.sees(t, failure, "exporter status", "in pipeline metrics", "Effective config", "receivers:", "hostmetrics")
	b.do(t, "it does not say since when", chromedp.WaitVisible(chromedp.CSS("#problems time[datetime]")))
	b.picture(t, "failing")
	b.do(t, "dark", dark)
	b.picture(t, "failing-dark")
	b.do(t, "narrow", narrow)
	b.assertFits(t)
	b.picture(t, "failing-narrow-dark")
	b.do(t, "wide and light again", wide, light)

	ordered = time.Now()
	e.report(t, "StatusOK", "")
	b.until(t, `!document.querySelector("#problems")`)
	t.Logf("the page shows the recovery after %v", time.Since(ordered).Round(time.Millisecond))
	b.picture(t, "healthy")
	b.do(t, "dark", dark)
	b.picture(t, "healthy-dark")
	b.do(t, "light again", light)

	ordered = time.Now()
	e.report(t, "StatusStopping", "")
	e.report(t, "StatusStopped", "")
	b.sees(t, "Stopped")
	t.Logf("the page shows the stop after %v", time.Since(ordered).Round(time.Millisecond))
	b.picture(t, "stopped")

	c.kill()
	b.sees(t, "Lost")
	b.picture(t, "lost")
	b.assertNotReloaded(t)

	b.do(t, "the list does not load", narrow, chromedp.Navigate("http://"+f.web+"/agents"))
	b.sees(t, "otelcol-fleetview-e2e")
	b.assertFits(t)
	b.picture(t, "list-narrow")

	f.stop(t)
	b.sees(t, "Live updates paused")
	b.picture(t, "paused")
}

// TestAPageThatCouldNotBeHadIsTriedAgain though nothing more happens: what is shown would stay as it was.
func TestAPageThatCouldNotBeHadIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	var broken atomic.Bool
	var refused atomic.Int32
	between := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: f.web}) },
		FlushInterval: -1,
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() && r.Header.Get("Fleetview-Refresh") != "" {
			refused.Add(1)
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		between.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		front.CloseClientConnections() // event streams
		front.Close()
	})
	b := openBrowser(t)
	b.do(t, "the page does not load", wide, chromedp.Navigate(front.URL+"/agents"))
	b.until(t, `document.querySelector("#live-state")?.dataset.state === "live"`)
	broken.Store(true)
	f.startAgent(t, "http")
	b.sees(t, "Live updates paused")
	broken.Store(false)
	b.sees(t, "otelcol-fleetview-e2e")
	b.until(t, `document.querySelector("#live-state").dataset.state === "live"`)
	assert.NotZero(t, refused.Load())
}

// TestPageHasNoComplaints loads each kind of page and holds that nothing was thrown, blocked or missing.
func TestPageHasNoComplaints(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	changes := f.watch(t)
	f.startAgent(t, "ws")
	uid := changes.until(t, "healthy", isHealthy).UID
	b := openBrowser(t)
	for _, path := range []string{"/", "/agents", "/?q=nobody", "/problems", "/configs", "/server", "/agents/" + uid} {
		b.do(t, path+" does not load", wide, chromedp.Navigate("http://"+f.web+path))
		if path != "/server" { // which no event tells of
			b.until(t, `document.querySelector("#live-state")?.dataset.state === "live"`)
		}
	}
	b.assertNoComplaints(t)
}

// markAsLoaded leaves a mark that a reload would wipe out.
func (b *browser) markAsLoaded(t *testing.T) {
	t.Helper()
	evaluate[bool](t, b, "window.loadedOnce = true")
}

func (b *browser) assertNotReloaded(t *testing.T) {
	t.Helper()
	assert.True(t, evaluate[bool](t, b, "window.loadedOnce === true"), "the page was loaded again")
}

// assertFits holds that nobody has to scroll sideways.
func (b *browser) assertFits(t *testing.T) {
	t.Helper()
	over := evaluate[int](t, b, "document.documentElement.scrollWidth - document.documentElement.clientWidth")
	assert.LessOrEqual(t, over, 0, "pixels beyond the right edge")
}
