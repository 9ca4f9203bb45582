// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsend"
	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

// wire is a transport that takes everything, or fails.
type wire struct{ err error }

func (w wire) Send(uint64, *protobufs.ServerToAgent) error { return w.err }

const awss3 = ingestprogress.Capability

// newAskingUI is of a fleet with one collector, which replays and speaks on c.
func newAskingUI(t *testing.T, c fleet.Conn, w wire) (*fleet.Fleet, *UI) {
	t.Helper()
	f := fleet.New(fleet.Settings{})
	u := New(f, Settings{Sender: fleetsend.New(f, w)})
	u.now = func() time.Time { return uiNow }
	msg := report(1, "gateway", "n1", "StatusOK", "")
	msg.CustomCapabilities = &protobufs.CustomCapabilities{Capabilities: []string{awss3}}
	require.Nil(t, f.Report(c, msg, uiNow).GetErrorResponse())
	return f, u
}

func says(t *testing.T, f *fleet.Fleet, c fleet.Conn, capability, kind string, data []byte) {
	t.Helper()
	uid := uiUID(1)
	require.Nil(t, f.Report(c, &protobufs.AgentToServer{
		InstanceUid:   uid.Bytes(),
		CustomMessage: &protobufs.CustomMessage{Capability: capability, Type: kind, Data: data},
	}, uiNow).GetErrorResponse())
}

func tells(t *testing.T, f *fleet.Fleet, p ingestprogress.Progress) {
	t.Helper()
	data, err := json.Marshal(p)
	require.NoError(t, err)
	says(t, f, conn(1), awss3, ingestprogress.TypeProgress, data)
}

func progress() ingestprogress.Progress {
	at := func(d time.Duration) int64 { return uiNow.Add(d).UnixNano() }
	return ingestprogress.Progress{
		Receiver: "aws_s3/replay", TelemetryType: "traces", Mode: "time_range", State: ingestprogress.StateIngesting,
		Start: time.Date(2026, 1, 31, 15, 0, 0, 0, time.UTC).UnixNano(), End: time.Date(2026, 1, 31, 16, 0, 0, 0, time.UTC).UnixNano(),
		Position: time.Date(2026, 1, 31, 15, 25, 0, 0, time.UTC).UnixNano(),
		Began:    at(-3 * time.Minute), Updated: at(-time.Second), Listed: true,
		ObjectsListed: 1440, ObjectsDone: 612, BytesListed: 3_400_000_000, BytesDone: 1_444_000_000, Records: 1_234_567,
		Percent: 42.47, ObjectsPerSecond: 12.7, BytesPerSecond: 34_500_000, ETASeconds: 65,
		Key: "year=2026/month=01/day=31/hour=15/minute=25/traces_1.json.gz",
	}
}

const agentPath = "/agents/019a0000-0000-0000-0000-000000000001"

func TestReplayThatRuns(t *testing.T) {
	f, u := newAskingUI(t, conn(1), wire{})
	tells(t, f, progress())
	w := get(u, agentPath)
	requireSafe(t, w)
	assert.Contains(t, text(w), "Replays Report now aws_s3/replay traces Replaying began 3 min ago 42.4 % "+
		"Objects 612 of 1,440 Data 1.4 GB of 3.4 GB Delivered 1,234,567 spans Rate 12 objects/s, 34.5 MB/s Time left 1 min "+
		"Position 2026-01-31 15:25 UTC Range 2026-01-31 15:00 to 16:00 UTC "+
		"Now at year=2026/month=01/day=31/hour=15/minute=25/traces_1.json.gz Reported just now . Timeline")
	html := w.Body.String()
	assert.Regexp(t, `role="progressbar" aria-labelledby="ingest-[0-9a-f]{12}-name" aria-valuemin="0" aria-valuemax="100" `+
		`aria-valuenow="42.4" aria-valuetext="Replaying, 42.4 %, 1 min left">`, html)
	assert.Contains(t, html, `<rect width="424" height="1"/>`)
	assert.Contains(t, html, `<a href="#ingests">Replays <span class="pill is-busy">1</span></a>`)
}

func TestReplaysInEachState(t *testing.T) {
	f, u := newAskingUI(t, conn(1), wire{})
	for i, state := range ingestprogress.States() {
		p := progress()
		p.Receiver, p.State = fmt.Sprint("aws_s3/", i), state
		switch state {
		case ingestprogress.StateListing:
			p.Percent, p.ETASeconds, p.Listed, p.ObjectsPerSecond, p.BytesPerSecond = -1, -1, false, 0, 0
		case ingestprogress.StateRetrying:
			p.Retries, p.Error = 17, "SlowDown: <please>"
		case ingestprogress.StateWaiting:
			p.Mode, p.Percent, p.End = "follow", -1, 0
		case ingestprogress.StateFailed:
			p.Failures, p.ObjectsFailed = map[string]uint64{"decode": 3, "denied": 1}, 4
			p.ObjectsSkipped, p.Error = 2, "AccessDenied"
		case ingestprogress.StateCompleted:
			p.Percent, p.ETASeconds, p.ObjectsDone, p.BytesDone = 100, 0, p.ObjectsListed, p.BytesListed
		}
		tells(t, f, p)
	}
	w := get(u, agentPath)
	requireSafe(t, w)
	page := text(w)
	for _, want := range []string{
		"aws_s3/0 traces Listing began 3 min ago – Objects 612 of 1,440 listed so far Data 1.4 GB of 3.4 GB listed so far",
		"aws_s3/1 traces Replaying",
		"aws_s3/2 traces Retrying began 3 min ago 42.4 %",
		"Retries 17 Now at", "SlowDown: &lt;please&gt; Reported",
		"aws_s3/3 traces Waiting began 3 min ago –", "Range from 2026-01-31 15:00 UTC on",
		"aws_s3/4 traces Failed began 3 min ago 42.4 %", "Took 2 min", "Skipped 2 Given up 4 decode 3 denied 1 AccessDenied Reported",
		"aws_s3/5 traces Completed began 3 min ago 100 % Objects 1,440 of 1,440 Data 3.4 GB of 3.4 GB",
	} {
		assert.Contains(t, page, want)
	}
	assert.Equal(t, 4, strings.Count(page, "Now at"), "what is over is nowhere")
	assert.Equal(t, 2, strings.Count(w.Body.String(), "track unknown"))
	assert.Equal(t, 4, strings.Count(w.Body.String(), "aria-valuenow="))
	assert.Contains(t, w.Body.String(), `<span class="pill is-busy">4</span>`)

	f.Disconnected(conn(1), uiNow)
	page = text(get(u, agentPath))
	assert.Contains(t, page, "aws_s3/1 traces Unknown began", "nobody knows whether it goes on")
	assert.NotContains(t, page, "Time left")
	assert.Contains(t, page, "The collector is gone; nobody knows whether this went on.")
	assert.Equal(t, 4, strings.Count(page, "Last at"))
	assert.Contains(t, page, "aws_s3/5 traces Completed began")
	assert.NotContains(t, page, "Report now")
}

func TestReplayOfContribsReceiver(t *testing.T) {
	f, u := newAskingUI(t, conn(1), wire{})
	assert.Contains(t, text(get(u, agentPath)), "This collector can replay from object storage, and has told of no replay yet.")
	// As contrib's receiver sends it: 5 minutes into an hour.
	const status = "\x0a\x8d\x01\x12\x88\x01\x12\x83\x01\x52\x00\x4a\x00\x32\x1a\x12\x08\x0a\x06traces\x0a\x0etelemetry_type" +
		"\x32\x1c\x12\x0b\x0a\x09ingesting\x0a\x0dingest_status\x32\x18\x12\x0a\x18\x80\xc0\xe1\x9b\xce\xd3\xdd\xd7\x17\x0a\x0astart_time" +
		"\x32\x16\x12\x0a\x18\x80\x80\xc4\xa1\xb1\xbc\xde\xd7\x17\x0a\x08end_time\x2a\x08\x0a\x06status\x09\x00\x18\xdd\xbc\xe2\x76\xaf\x17\x0a\x00\x0a\x00"
	says(t, f, conn(1), awss3, ingestprogress.TypeStatus, []byte(status))
	w := get(u, agentPath)
	requireSafe(t, w)
	assert.Contains(t, text(w), "Replay of traces Replaying began just now 8.3 % Position 2024-01-31 15:05 UTC "+
		"Range 2024-01-31 15:00 to 16:00 UTC Reported just now . The receiver tells no more than its position in the range.")
	assert.NotContains(t, text(w), "Report now", "it takes no questions")
}

func TestCustomMessagesAreShownRaw(t *testing.T) {
	f, u := newAskingUI(t, conn(1), wire{})
	says(t, f, conn(1), "com.example.ping", "Pong", []byte("{\n  \"a\": 1\n}"))
	says(t, f, conn(1), "com.example.ping", "", nil)
	says(t, f, conn(1), "com.example.ping", "Bytes", []byte("\x00\x01\xffABC"))
	says(t, f, conn(1), "com.example.ping", "Long", []byte(strings.Repeat("long ", 2000)))
	says(t, f, conn(1), "com.example.ping", "Blob", []byte(strings.Repeat("\xff", 2000)))
	w := get(u, agentPath)
	requireSafe(t, w)
	page := text(w)
	for _, want := range []string{
		"com.example.ping 5 from the collector. The collector does not announce this capability.",
		"← from the collector: Pong { &#34;a&#34;: 1 } 12 B just now { &#34;a&#34;: 1 }",
		"← from the collector: no type 0 B just now It has no data.",
		"← from the collector: Bytes bytes 6 B just now 00000000 00 01 ff 41 42 43 |...ABC|",
		"The first 4.1 kB of 10.0 kB.",
		"The first 512 B of 2.0 kB.",
		awss3 + " Nothing was said with it yet.",
	} {
		assert.Contains(t, page, want)
	}
	assert.Contains(t, w.Body.String(), "<pre dir=\"auto\" tabindex=\"0\">{\n  &#34;a&#34;: 1\n}</pre>")
	assert.Less(t, w.Body.Len(), 64<<10)
}

func TestHostileMessagesAreHarmless(t *testing.T) {
	f, u := newAskingUI(t, conn(1), wire{})
	const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>` + "\u202e\x1b[31m\r"
	p := progress()
	p.Receiver, p.Key, p.Error, p.Mode = hostile, hostile, hostile, hostile
	p.Failures = map[string]uint64{hostile: 1 << 63}
	p.ObjectsDone, p.Records, p.BytesDone = 1<<64-1, 1<<64-1, 1<<64-1
	p.Start, p.End, p.Position, p.Began, p.ETASeconds = 1<<63-1, 1, 1<<63-1, 1<<63-1, 1e300
	tells(t, f, p)
	says(t, f, conn(1), hostile, hostile, []byte(hostile))
	says(t, f, conn(1), hostile, hostile, []byte("</pre>"+hostile[:40]))
	w := get(u, agentPath)
	requireSafe(t, w)
	assert.NotContains(t, w.Body.String(), "<script>alert")
	assert.NotContains(t, w.Body.String(), "<img src=x")
	assert.Regexp(t, `id="c-[0-9a-f]{12}"`, w.Body.String(), "a foreign name is no id")
}

func ask(u *UI, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path+"/report", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	u.ServeHTTP(w, r)
	return w
}

func TestACollectorIsAskedToReportNow(t *testing.T) {
	f, u := newAskingUI(t, conn(1), wire{})
	page := get(u, agentPath).Body.String()
	assert.Contains(t, page, `<form class="ask end" method="post" action="`+agentPath+`/report"`)
	w := ask(u, agentPath, "Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusSeeOther, w.Code)
	assert.Equal(t, agentPath+"?asked=sent#ingests", w.Header().Get("Location"))
	a, _ := f.Agent(uiUID(1))
	last := a.Channel(awss3).Last[0]
	assert.Equal(t, ingestprogress.TypeReport, last.Type)
	u.now = func() time.Time { return last.At.Add(10 * time.Second) }
	w = get(u, agentPath+"?asked=sent")
	requireSafe(t, w)
	assert.Contains(t, text(w), "Replays Asked 10 s ago Report now")
	assert.Contains(t, text(w), "1 to it. → to the collector: ReportIngestProgress 0 B")

	for range 20 {
		w = ask(u, agentPath)
	}
	assert.Equal(t, agentPath+"?asked=too-often#ingests", w.Header().Get("Location"))
	w = get(u, agentPath+"?asked=too-often")
	requireSafe(t, w)
	assert.Contains(t, text(w), "It was asked a moment ago.")
}

func TestACollectorThatPollsIsAskedAtItsNextPoll(t *testing.T) {
	polls := fleet.Conn{Transport: fleet.TransportHTTP}
	f, u := newAskingUI(t, polls, wire{})
	require.Equal(t, http.StatusSeeOther, ask(u, agentPath).Code)
	a, _ := f.Agent(uiUID(1))
	require.Len(t, a.Mail, 1)
	until := a.Mail[0].Expires.UTC().Format("15:04:05 UTC")
	u.now = func() time.Time { return a.Mail[0].At.Add(20 * time.Second) }
	w := get(u, agentPath)
	requireSafe(t, w)
	assert.Contains(t, text(w), "Asked 20 s ago ; waits for its next poll, until "+until+" Report now")
	assert.Contains(t, text(w), "ReportIngestProgress of "+awss3+" waits for the collector's next poll, until "+until+". It was sent 20 s ago .")
	f.Tick(a.Mail[0].Expires)
	assert.Contains(t, text(get(u, agentPath)), "× not fetched in time: ReportIngestProgress")
}

func TestQuestionsThatAreNotAsked(t *testing.T) {
	f, u := newAskingUI(t, conn(1), wire{})
	assert.Equal(t, http.StatusNotFound, ask(u, "/agents/x").Code)
	assert.Equal(t, http.StatusNotFound, ask(u, "/agents/"+uiUID(9).String()).Code)
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		w := ask(u, agentPath, header...)
		assert.Equal(t, http.StatusForbidden, w.Code)
		requireSafe(t, w)
	}
	a, _ := f.Agent(uiUID(1))
	assert.Nil(t, a.Channel(awss3))
	f.Disconnected(conn(1), uiNow)
	assert.Contains(t, ask(u, agentPath).Header().Get("Location"), "?asked=not-connected")
	assert.Contains(t, text(get(u, agentPath+"?asked=not-connected")), "The collector is not connected, so it can&#39;t be asked.")
	assert.NotContains(t, text(get(u, agentPath+"?asked=<b>")), "asked")

	for failure, word := range map[error]string{opampserver.ErrQueueFull: "busy", opampserver.ErrNotConnected: "not-connected"} {
		_, u := newAskingUI(t, conn(1), wire{failure})
		assert.Contains(t, ask(u, agentPath).Header().Get("Location"), "?asked="+word)
	}
	_, u = newAskingUI(t, conn(1), wire{errors.New("anything")})
	assert.Equal(t, http.StatusInternalServerError, ask(u, agentPath).Code)
	_, u = newTestUI(t)
	assert.Equal(t, http.StatusMethodNotAllowed, ask(u, agentPath).Code, "nobody to ask with")
}

func TestSizes(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 1.5e9: "1.5 GB", 2e12: "2.0 TB", 1e25: "10000000.0 EB",
	} {
		assert.Equal(t, want, byteSize(n))
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 1<<64 - 1: "18,446,744,073,709,551,615"} {
		assert.Equal(t, want, thousands(n))
	}
}
