// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
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

// says has the agent n say something.
func says(t *testing.T, f *fleet.Fleet, conn fleet.Conn, n byte, kind string, data []byte) {
	t.Helper()
	uid := apiUID(n)
	require.Nil(t, f.Report(conn, &protobufs.AgentToServer{
		InstanceUid:   uid.Bytes(),
		CustomMessage: &protobufs.CustomMessage{Capability: awss3, Type: kind, Data: data},
	}, apiNow).GetErrorResponse())
}

func progressOf(t *testing.T) []byte {
	t.Helper()
	data, err := json.Marshal(ingestprogress.Progress{
		Receiver: "aws_s3/replay", TelemetryType: "traces", Mode: "time_range", State: ingestprogress.StateRetrying,
		Start: apiNow.UnixNano(), Position: apiNow.UnixNano(), Began: apiNow.UnixNano(), Updated: apiNow.UnixNano(),
		ObjectsListed: 10, ObjectsDone: 4, BytesListed: 1000, BytesDone: 400, Records: 77, Percent: 40.5, ETASeconds: -1,
		ObjectsPerSecond: 1.5, BytesPerSecond: 100, Key: "a/b", Retries: 2,
		Failures: map[string]uint64{"decode": 1}, Error: "SlowDown <b>",
	})
	require.NoError(t, err)
	return data
}

// converse lets the agent 1 say what there is to say, and has something said to it.
func converse(t *testing.T, f *fleet.Fleet, a *API) {
	t.Helper()
	uid := apiUID(1)
	require.Nil(t, f.Report(apiConn, &protobufs.AgentToServer{
		InstanceUid: uid.Bytes(), CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{awss3, "quiet"}},
	}, apiNow).GetErrorResponse())
	says(t, f, apiConn, 1, ingestprogress.TypeProgress, progressOf(t))
	says(t, f, apiConn, 1, "Raw", []byte{0xff, 0})
	require.Equal(t, http.StatusOK, post(a, 1, `{"capability":"`+awss3+`","type":"ReportIngestProgress"}`).Code)
	polls := fleet.Conn{Transport: fleet.TransportHTTP, RemoteAddr: apiConn.RemoteAddr}
	says(t, f, polls, 1, "Raw", []byte("<b>\n"))
	require.Equal(t, http.StatusAccepted, post(a, 1, `{"capability":"quiet","data":"text"}`).Code)
}

func post(h http.Handler, n byte, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/agents/"+apiUID(n).String()+"/custom-messages", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func codeOf(t *testing.T, w *httptest.ResponseRecorder) any {
	t.Helper()
	return decode(t, w)["error"].(map[string]any)["code"]
}

func TestListMessages(t *testing.T) {
	f, a := newTestAPI(t, fullReport(1, "gateway"))
	converse(t, f, a)
	agent := decode(t, get(a, "/api/v1/agents/"+apiUID(1).String()))
	list := decode(t, get(a, "/api/v1/agents/"+apiUID(1).String()+"/custom-messages"))
	assert.Equal(t, agent["custom_messages"], any(list), "one and the same")

	capabilities := list["capabilities"].([]any)
	require.Len(t, capabilities, 2)
	first := capabilities[0].(map[string]any)
	assert.Equal(t, awss3, first["capability"])
	assert.Equal(t, true, first["announced"])
	assert.InDelta(t, 3, first["received"], 0)
	assert.InDelta(t, 1, first["sent"], 0)
	last := first["last"].([]any)
	require.Len(t, last, 4)
	now := last[1].(map[string]any)["time"]
	assert.Equal(t, map[string]any{
		"number": 4.0, "type": "Raw", "direction": "received", "fate": "received", "time": "2026-03-04T05:06:07Z",
		"size": 4.0, "data": base64.StdEncoding.EncodeToString([]byte("<b>\n")), "text": "<b>\n", "truncated": false,
	}, last[0])
	assert.Equal(t, map[string]any{
		"number": 3.0, "type": "ReportIngestProgress", "direction": "sent", "fate": "delivered", "time": now,
		"size": 0.0, "data": "", "text": "", "truncated": false,
	}, last[1])
	assert.Nil(t, last[2].(map[string]any)["text"], "bytes are no text")
	assert.Equal(t, map[string]any{
		"capability": "quiet", "announced": true, "received": 0.0, "sent": 0.0, "last": []any{},
	}, capabilities[1])
	waiting := list["waiting"].([]any)
	require.Len(t, waiting, 1)
	assert.Equal(t, "quiet", waiting[0].(map[string]any)["capability"])
	assert.NotEmpty(t, waiting[0].(map[string]any)["expires"])

	in := agent["ingests"].([]any)
	require.Len(t, in, 1)
	assert.Equal(t, map[string]any{
		"receiver": "aws_s3/replay", "telemetry_type": "traces", "mode": "time_range", "state": "retrying", "detailed": true,
		"start": "2026-03-04T05:06:07Z", "end": nil, "position": "2026-03-04T05:06:07Z", "began": "2026-03-04T05:06:07Z",
		"updated": "2026-03-04T05:06:07Z", "since": "2026-03-04T05:06:07Z", "heard": "2026-03-04T05:06:07Z",
		"percent": 40.5, "eta_seconds": nil, "listed": false, "objects_listed": 10.0, "objects_done": 4.0,
		"objects_skipped": 0.0, "objects_failed": 0.0, "bytes_listed": 1000.0, "bytes_done": 400.0, "records": 77.0,
		"objects_per_second": 1.5, "bytes_per_second": 100.0, "key": "a/b", "retries": 2.0,
		"failures": map[string]any{"decode": 1.0}, "error": "SlowDown <b>",
	}, in[0])
}

func TestSendAMessage(t *testing.T) {
	f, a := newTestAPI(t, fullReport(1, "gateway"))
	d := loadDocument(t)
	const path = "/api/v1/agents/{uid}/custom-messages"
	w := post(a, 1, `{"capability":"com.example.a","type":"t","data":"/w==","encoding":"base64"}`)
	require.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `{"outcome":"delivered","expires":null}`, w.Body.String())
	d.check(d.answerSchema("post", path, "200"), any(decode(t, w)), "delivered")
	agent, _ := f.Agent(apiUID(1))
	assert.Equal(t, []byte{0xff}, agent.Channel("com.example.a").Last[0].Data)

	polls := fleet.Conn{Transport: fleet.TransportHTTP}
	require.Nil(t, f.Report(polls, fullReport(2, "polls"), apiNow).GetErrorResponse())
	w = post(a, 2, `{"capability":"com.example.a","data":"héllo"}`)
	require.Equal(t, http.StatusAccepted, w.Code)
	d.check(d.answerSchema("post", path, "202"), any(decode(t, w)), "queued")
	assert.Equal(t, "queued", decode(t, w)["outcome"])
	assert.NotNil(t, decode(t, w)["expires"])
	uid := apiUID(2)
	reply := f.Report(polls, &protobufs.AgentToServer{InstanceUid: uid.Bytes(), SequenceNum: 1}, apiNow)
	assert.Equal(t, "héllo", string(reply.GetCustomMessage().GetData()))
}

func TestMessagesThatAreNotSent(t *testing.T) {
	gone := fullReport(3, "gone")
	gone.AgentDisconnect = &protobufs.AgentDisconnect{}
	_, a := newTestAPI(t, fullReport(1, "gateway"), fullReport(3, "gone"), gone)
	d := loadDocument(t)
	const good = `{"capability":"com.example.a"}`
	for name, tt := range map[string]struct {
		agent   byte
		body    string
		headers []string
		status  int
		code    string
	}{
		"unknown":      {9, good, nil, 404, "not_found"},
		"gone":         {3, good, nil, 409, "not_connected"},
		"capability":   {1, `{"capability":"com.example.c"}`, nil, 422, "not_announced"},
		"nothing":      {1, ``, nil, 400, "bad_request"},
		"null":         {1, `null`, nil, 400, "bad_request"},
		"no_json":      {1, `capability=com.example.a`, nil, 400, "bad_request"},
		"field":        {1, `{"capability":"com.example.a","to":"x"}`, nil, 400, "bad_request"},
		"two":          {1, good + good, nil, 400, "bad_request"},
		"base64":       {1, `{"capability":"com.example.a","data":"-","encoding":"base64"}`, nil, 400, "bad_request"},
		"encoding":     {1, `{"capability":"com.example.a","encoding":"rot13"}`, nil, 400, "bad_request"},
		"type":         {1, `{"capability":"com.example.a","type":"` + strings.Repeat("t", 300) + `"}`, nil, 400, "bad_request"},
		"data":         {1, `{"capability":"com.example.a","data":"` + strings.Repeat("x", fleet.MaxPostBytes+1) + `"}`, nil, 413, "too_large"},
		"body":         {1, strings.Repeat(" ", MaxBodyBytes+1), nil, 413, "too_large"},
		"form":         {1, good, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type"},
		"no_type":      {1, good, []string{"Content-Type", ""}, 415, "unsupported_media_type"},
		"origin":       {1, good, []string{"Origin", "https://evil.example"}, 403, "forbidden"},
		"null_origin":  {1, good, []string{"Origin", "null"}, 403, "forbidden"},
		"cross_site":   {1, good, []string{"Sec-Fetch-Site", "cross-site"}, 403, "forbidden"},
		"same_site":    {1, good, []string{"Sec-Fetch-Site", "same-site", "Origin", "http://other.example.com"}, 403, "forbidden"},
		"escapes_fit":  {1, `{"capability":"com.example.a","data":"` + strings.Repeat(`\u0001`, fleet.MaxPostBytes) + `"}`, nil, 200, ""},
		"same_origin":  {1, good, []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://example.com"}, 200, ""},
		"old_browser":  {1, good, []string{"Origin", "http://example.com"}, 200, ""},
		"with_charset": {1, good, []string{"Content-Type", "application/json; charset=utf-8"}, 200, ""},
	} {
		w := post(a, tt.agent, tt.body, tt.headers...)
		require.Equal(t, tt.status, w.Code, name)
		if tt.status == http.StatusOK {
			continue
		}
		assert.Equal(t, tt.code, codeOf(t, w), name)
		d.check(d.answerSchema("post", "/api/v1/agents/{uid}/custom-messages", fmt.Sprint(tt.status)), any(decode(t, w)), name)
	}
}

func TestMessagesAreSentNoFasterThanTheyMay(t *testing.T) {
	f, a := newTestAPI(t, fullReport(1, "gateway"))
	const body = `{"capability":"com.example.a"}`
	w := post(a, 1, body)
	for range 20 {
		w = post(a, 1, body)
	}
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	assert.Equal(t, "too_many_messages", codeOf(t, w))
	assert.Equal(t, "1", w.Header().Get("Retry-After"))

	polls := fleet.Conn{Transport: fleet.TransportHTTP}
	require.Nil(t, f.Report(polls, fullReport(2, "polls"), apiNow).GetErrorResponse())
	for range 9 {
		w = post(a, 2, body)
	}
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	assert.Equal(t, "mailbox_full", codeOf(t, w))

	f = fleet.New(fleet.Settings{})
	require.Nil(t, f.Report(apiConn, fullReport(1, "gateway"), apiNow).GetErrorResponse())
	for failure, status := range map[error]int{
		opampserver.ErrNotConnected: http.StatusConflict,
		opampserver.ErrQueueFull:    http.StatusServiceUnavailable,
		errors.New("anything"):      http.StatusBadRequest,
	} {
		stuck := New(f, Settings{Sender: fleetsend.New(f, wire{failure})})
		assert.Equal(t, status, post(stuck, 1, body).Code)
		stuck.Close()
	}
}

// Who may send is for somebody else to say: it is asked before anything is told.
func TestWhoMayNotSend(t *testing.T) {
	f, _ := newTestAPI(t, fullReport(1, "gateway"))
	viewer := New(f, Settings{Sender: fleetsend.New(f, wire{}), MaySend: func(r *http.Request) error {
		if r.Header.Get("X-Role") != "operator" {
			return errors.New("a viewer may not send")
		}
		return nil
	}})
	defer viewer.Close()
	const body = `{"capability":"com.example.a"}`
	for _, agent := range []byte{1, 9} {
		w := post(viewer, agent, body)
		assert.Equal(t, http.StatusForbidden, w.Code)
		assert.Equal(t, "forbidden", codeOf(t, w))
	}
	assert.Equal(t, http.StatusOK, post(viewer, 1, body, "X-Role", "operator").Code)
	assert.Equal(t, http.StatusForbidden, post(viewer, 1, body, "X-Role", "operator", "Sec-Fetch-Site", "cross-site").Code,
		"whoever it is, another site's page may not")

	reads := New(f, Settings{})
	defer reads.Close()
	w := post(reads, 1, body)
	assert.Equal(t, http.StatusMethodNotAllowed, w.Code, "without a Sender it only reads")
	assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
}

// A body that does not come is not waited for, however long its sender would like that.
func TestBodyThatDoesNotCome(t *testing.T) {
	_, a := newTestAPI(t, fullReport(1, "gateway"))
	r := httptest.NewRequest(http.MethodPost, "/api/v1/agents/"+apiUID(1).String()+"/custom-messages",
		io.MultiReader(strings.NewReader(`{"capability":`), broken{}))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.NotContains(t, w.Body.String(), "i/o timeout")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("i/o timeout") }

// A replay that tells its progress a hundred times a second is told once a second, and its last word is told.
func TestStreamCarriesMessagesOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		a := New(f, Settings{})
		uid := apiUID(1)
		f.Report(apiConn, fullReport(1, "gateway"), time.Now())
		c, stop := follow(t, a, "?view=version&instance_uid="+uid.String())
		defer stop()
		synctest.Wait()
		c.take()
		const seconds = 10
		for i := range 100 * seconds {
			f.Report(apiConn, &protobufs.AgentToServer{
				InstanceUid: uid.Bytes(), SequenceNum: uint64(i + 1),
				CustomMessage: &protobufs.CustomMessage{Capability: awss3, Type: "t", Data: []byte(fmt.Sprint(i))},
			}, time.Now())
			if i%100 == 99 {
				f.Tick(time.Now())
			}
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		told := strings.Count(c.take(), "changed")
		assert.GreaterOrEqual(t, told, seconds-1)
		assert.LessOrEqual(t, told, seconds+1)

		time.Sleep(2 * time.Second)
		synctest.Wait()
		c.take()
		f.Report(apiConn, &protobufs.AgentToServer{
			InstanceUid: uid.Bytes(), SequenceNum: 100*seconds + 1,
			CustomMessage: &protobufs.CustomMessage{Capability: awss3, Type: "last"},
		}, time.Now())
		f.Tick(time.Now())
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Contains(t, c.take(), "changed")
	})
}
