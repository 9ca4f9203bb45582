// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// replayBegan is when the run began that all progress of these tests is of.
var replayBegan = time.Now().Add(-3 * time.Minute)

// replayOf is a replay of an hour of one signal, a part of it done.
func replayOf(signal string, percent float64) ingestprogress.Progress {
	start := time.Date(2026, 10, 31, 15, 0, 0, 0, time.UTC)
	const objects, bytes, records = 1440, 3_400_000_000, 9_876_543
	return ingestprogress.Progress{
		Receiver: "aws_s3/replay", TelemetryType: signal, Mode: "time_range", State: ingestprogress.StateIngesting,
		Start: start.UnixNano(), End: start.Add(time.Hour).UnixNano(),
		Position: start.Add(time.Duration(percent*0.6) * time.Minute).UnixNano(),
		Began:    replayBegan.UnixNano(), Listed: true,
		ObjectsListed: objects, ObjectsDone: uint64(percent * objects / 100),
		BytesListed: bytes, BytesDone: uint64(percent * bytes / 100), Records: uint64(percent * records / 100),
		Percent: percent, ObjectsPerSecond: 12.7, BytesPerSecond: 34_500_000, ETASeconds: (100 - percent) * 4,
		Key: fmt.Sprintf("year=2026/month=10/day=31/hour=15/minute=%02.0f/%s_4f1c.json.gz", percent*0.6, signal),
	}
}

// barOf is the bar of the replay of a signal.
func barOf(signal string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(".ingests > li")].find((li) => li.querySelector(".head").innerText.includes(%q))?.querySelector("[role=progressbar]")`, signal)
}

// barAt waits until the bar of a signal stands at a percentage, for those who see it and for those who don't.
func (b *browser) barAt(t *testing.T, signal, percent string) {
	t.Helper()
	b.until(t, fmt.Sprintf(`%s?.getAttribute("aria-valuenow") === %q`, barOf(signal), percent))
	b.until(t, fmt.Sprintf(`(() => {
		const bar = %s, done = bar.querySelector("rect").getBoundingClientRect(), all = bar.getBoundingClientRect();
		return Math.abs(done.width / all.width * 100 - %s) < 0.5;
	})()`, barOf(signal), percent))
}

// TestReplayProgress looks at a collector that replays from object storage, on a page that is loaded once: the bar is
// seen to move, to wait, and to finish.
func TestReplayProgress(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a := f.scriptAgent(t, "otelcol-replay", ingestprogress.Capability)
	b := openBrowser(t)
	b.do(t, "the page does not load", wide, light, chromedp.Navigate("http://"+f.web+"/agents/"+a.uid.String()))
	b.sees(t, "has told of no replay yet")
	b.picture(t, "replay-none")
	b.markAsLoaded(t)

	listing := replayOf("traces", 0)
	listing.State, listing.Percent, listing.ETASeconds, listing.Listed = ingestprogress.StateListing, -1, -1, false
	listing.ObjectsListed, listing.BytesListed, listing.ObjectsPerSecond, listing.BytesPerSecond = 512, 1_210_000_000, 0, 0
	a.progress(t, listing)
	b.sees(t, "Listing", "512 listed so far")
	assert.True(t, evaluate[bool](t, b, barOf("traces")+`.getAttribute("aria-valuenow") === null`), "nobody knows how far it is")
	b.picture(t, "replay-listing")

	for _, percent := range []float64{5, 12.5, 37.5} {
		a.progress(t, replayOf("traces", percent))
		b.barAt(t, "traces", strings.TrimSuffix(fmt.Sprintf("%.1f", percent), ".0"))
	}
	logs := replayOf("logs", 81)
	logs.State, logs.Retries = ingestprogress.StateRetrying, 17
	logs.Error = "the pipeline refuses data: sending queue is full"
	a.progress(t, logs)
	b.barAt(t, "logs", "81")
	b.sees(t, "aws_s3/replay", "Replaying", "540 of 1,440", "1.3 GB of 3.4 GB", "3,703,703 spans", "12 objects/s, 34.5 MB/s",
		"4 min", "2026-10-31 15:22 UTC", "minute=22/traces_4f1c.json.gz", "Retrying", "sending queue is full")
	b.picture(t, "replay-running")
	b.do(t, "dark", dark)
	b.picture(t, "replay-running-dark")
	b.do(t, "narrow", narrow)
	b.assertFits(t)
	b.picture(t, "replay-running-narrow-dark")
	b.do(t, "light", light)
	b.picture(t, "replay-running-narrow")
	b.do(t, "wide again", wide)

	b.do(t, "there is nothing to click", chromedp.Click(chromedp.CSS("form.ask button")))
	assert.Equal(t, ingestprogress.TypeReport, a.waitAsked(t).GetType())
	a.progress(t, replayOf("traces", 62.5))
	b.barAt(t, "traces", "62.5")
	b.sees(t, "Asked")
	b.assertNotReloaded(t)

	failed := replayOf("logs", 83.3)
	failed.State, failed.ObjectsFailed, failed.ObjectsSkipped, failed.Retries = ingestprogress.StateFailed, 3, 5, 42
	failed.Failures = map[string]uint64{"access_denied": 1, "decode": 2}
	failed.Error = "get s3://telemetry/year=2026/month=10/day=31/hour=15/minute=50/logs_4f1c.json.gz: AccessDenied: Access Denied"
	a.progress(t, failed)
	b.sees(t, "Failed", "access_denied 1", "Given up", "AccessDenied")

	done := replayOf("traces", 100)
	done.State, done.ETASeconds = ingestprogress.StateCompleted, 0
	a.progress(t, done)
	b.barAt(t, "traces", "100")
	b.sees(t, "Completed", "9,876,543 spans", "Took")
	b.picture(t, "replay-over")
	b.do(t, "dark", dark)
	b.picture(t, "replay-over-dark")
	b.do(t, "light again", light)
	b.assertNotReloaded(t)

	metrics := replayOf("metrics", 20)
	a.progress(t, metrics)
	b.barAt(t, "metrics", "20")
	require.NoError(t, a.ws.CloseNow())
	b.sees(t, "Unknown", "Lost")
	b.picture(t, "replay-lost")
	b.assertNoComplaints(t)
}

// TestReplayOfContribsReceiver looks at a collector whose receiver tells its position and nothing else.
func TestReplayOfContribsReceiver(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a := f.scriptAgent(t, "otelcol-contrib", ingestprogress.Capability)
	// As contrib's receiver sends it: 5 minutes into an hour.
	status, err := hex.DecodeString("0a8d0112880112830152004a00321a12080a067472616365730a0e74656c656d657472795f74797065321c120b0a09" +
		"696e67657374696e670a0d696e676573745f7374617475733218120a1880c0e19bced3ddd7170a0a73746172745f74696d653216120a188080c4a1" +
		"b1bcded7170a08656e645f74696d652a080a06737461747573090018ddbce276af170a000a00")
	require.NoError(t, err)
	a.message(t, ingestprogress.Capability, ingestprogress.TypeStatus, status)
	b := openBrowser(t)
	b.do(t, "the page does not load", wide, light, chromedp.Navigate("http://"+f.web+"/agents/"+a.uid.String()))
	b.barAt(t, "traces", "8.3")
	b.sees(t, "Replay of traces", "The receiver tells no more")
	b.picture(t, "replay-contrib")
}

// TestCustomMessagesOnThePage looks at messages that the page knows nothing of, asks without a script, and holds a list
// still under the pointer.
func TestCustomMessagesOnThePage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	const ping = "com.example.ping"
	a := f.scriptAgent(t, "otelcol-talkative", ping, "com.example.quiet")
	a.message(t, ping, "Pong", []byte(`{"sequence": 1, "note": "<script>alert(1)</script>"}`))
	a.message(t, ping, "Blob", []byte("\x00\x01\x02\xff\xfe binary \x1b[31m and more of it, so that there are some lines"))
	a.message(t, "com.example.unannounced", "", nil)
	b := openBrowser(t)
	b.do(t, "the page does not load", wide, light, chromedp.Navigate("http://"+f.web+"/agents/"+a.uid.String()))
	b.sees(t, "Custom messages", ping, "com.example.quiet", "does not announce", `"note": "<script>alert(1)</script>"`)
	b.markAsLoaded(t)
	for i := range 2 {
		b.do(t, "a message does not open", chromedp.Click(chromedp.CSS(fmt.Sprintf(".messages li:nth-child(%d) summary", i+1))))
	}
	b.sees(t, "00000000  00 01 02 ff fe 20")
	b.picture(t, "messages")
	b.do(t, "dark", dark)
	b.picture(t, "messages-dark")
	b.do(t, "narrow", narrow)
	b.assertFits(t)
	b.picture(t, "messages-narrow-dark")
	b.do(t, "wide and light again", wide, light)

	// Under a pointer the list stays as it is, and what was opened stays open.
	const first, count = `document.querySelector(".messages li details").id`, `document.querySelector(".channel > p").innerText`
	was := evaluate[string](t, b, first)
	b.do(t, "the pointer does not move", b.pointTo(t, ".messages"))
	a.message(t, ping, "Pong", []byte("3"))
	b.until(t, count+`.startsWith("3 from")`)
	assert.Equal(t, was, evaluate[string](t, b, first))
	b.do(t, "the pointer does not move", chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, 1, 1))
	b.until(t, first+" !== "+fmt.Sprintf("%q", was))
	assert.Equal(t, 2, evaluate[int](t, b, `document.querySelectorAll(".messages details[open]").length`))
	b.assertNotReloaded(t)
	b.assertNoComplaints(t)

	// An agent that polls is asked at its next poll, and the button needs no script.
	uid := opampwire.NewInstanceUID()
	f.poll(t, uid, 0, scriptedReport("otelcol-polls", ingestprogress.Capability))
	b.do(t, "the page does not load without scripts", withoutScripts, chromedp.Navigate("http://"+f.web+"/agents/"+uid.String()),
		chromedp.Click(chromedp.CSS("form.ask button")), chromedp.WaitVisible(chromedp.CSS(".waiting")))
	b.picture(t, "messages-waiting")
	reply := f.poll(t, uid, 1, new(protobufs.AgentToServer))
	assert.Equal(t, ingestprogress.TypeReport, reply.GetCustomMessage().GetType())
	assert.Nil(t, f.poll(t, uid, 2, new(protobufs.AgentToServer)).GetCustomMessage())
}

// pointTo moves the pointer onto an element.
func (b *browser) pointTo(t *testing.T, css string) action {
	t.Helper()
	evaluate[bool](t, b, fmt.Sprintf("(document.querySelector(%q).scrollIntoView({block: 'center'}), true)", css))
	at := evaluate[[]float64](t, b, fmt.Sprintf(
		"(() => { const r = document.querySelector(%q).getBoundingClientRect(); return [r.x + r.width / 2, r.y + 10] })()", css))
	return chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, at[0], at[1])
}

var withoutScripts = chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
	_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return err
})

// assertNoComplaints holds that nothing was thrown, blocked or missing.
func (b *browser) assertNoComplaints(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Empty(t, b.complaints)
}
