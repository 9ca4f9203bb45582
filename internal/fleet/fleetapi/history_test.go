// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// eventsOf are the events of an answer, each in a word or two.
func eventsOf(t *testing.T, body map[string]any) (out []string) {
	t.Helper()
	for _, e := range body["events"].([]any) {
		e := e.(map[string]any)
		out = append(out, strings.TrimSpace(e["kind"].(string)+" "+e["subject"].(string)))
	}
	return out
}

func TestHistoryOfAnAgent(t *testing.T) {
	f, a := newTestAPI(t, fullReport(1, "gateway"), fullReport(2, "other"))
	uid := apiUID(1)
	f.Report(apiConn, &protobufs.AgentToServer{InstanceUid: uid.Bytes(), SequenceNum: 1, AgentDisconnect: &protobufs.AgentDisconnect{}}, apiNow.Add(time.Minute))

	body := decode(t, get(a, "/api/v1/agents/"+uid.String()+"/history"))
	got := eventsOf(t, body)
	require.NotEmpty(t, got)
	assert.Equal(t, "goodbye", got[0], "the last comes first")
	assert.Equal(t, "appeared", got[len(got)-1])
	for _, e := range body["events"].([]any) {
		assert.Equal(t, uid.String(), e.(map[string]any)["instance_uid"])
	}
	assert.NotContains(t, body, "next_cursor")

	kinds := decode(t, get(a, "/api/v1/history?kind=goodbye,lost&kind=appeared"))
	assert.Equal(t, []string{"goodbye", "appeared", "appeared"}, eventsOf(t, kinds))
	late := decode(t, get(a, "/api/v1/history?from="+apiNow.Add(time.Minute).Format(time.RFC3339)))
	assert.Equal(t, []string{"goodbye"}, eventsOf(t, late))
	early := decode(t, get(a, "/api/v1/history?until="+apiNow.Format(time.RFC3339)))
	assert.Empty(t, eventsOf(t, early))
}

func TestHistoryIsReadPageByPage(t *testing.T) {
	_, a := newTestAPI(t, fullReport(1, "a"), fullReport(2, "b"), fullReport(3, "c"))
	whole := eventsOf(t, decode(t, get(a, "/api/v1/history")))
	var paged []string
	for cursor := ""; ; {
		body := decode(t, get(a, "/api/v1/history?limit=2&cursor="+cursor))
		paged = append(paged, eventsOf(t, body)...)
		next, more := body["next_cursor"].(string)
		if !more {
			break
		}
		cursor = next
	}
	assert.Equal(t, whole, paged)
}

// TestHistoryIsThatOfAllInstances follows a pod over a restart.
func TestHistoryIsThatOfAllInstances(t *testing.T) {
	f, a := newTestAPI(t, fullReport(1, "gateway"))
	f.Disconnected(apiConn, apiNow)
	conn := apiConn
	conn.ID = 2
	f.Report(conn, fullReport(9, "gateway"), apiNow.Add(time.Second))
	target := "/api/v1/agents/" + apiUID(9).String()
	row := decode(t, get(a, target))
	assert.InDelta(t, 2, row["runs"], 0)
	assert.Equal(t, "host.name=node-1,service.name=gateway", row["logical"])

	all := eventsOf(t, decode(t, get(a, target+"/history")))
	assert.Equal(t, "appeared", all[len(all)-1])
	assert.Contains(t, all, "lost")
	assert.Contains(t, all, "instance_uid")
	this := eventsOf(t, decode(t, get(a, target+"/history?instances=this")))
	assert.NotContains(t, this, "lost")
	old := eventsOf(t, decode(t, get(a, "/api/v1/agents/"+apiUID(1).String()+"/history")))
	assert.Contains(t, old, "lost", "who is forgotten has a history")
}

func TestHistoryRefusesWhatItDoesNotKnow(t *testing.T) {
	_, a := newTestAPI(t, fullReport(1, "a"))
	agent := "/api/v1/agents/" + apiUID(1).String() + "/history"
	for target, want := range map[string]string{
		"/api/v1/history?nonsense=1":                  "nonsense: unknown parameter",
		"/api/v1/history?kind=x":                      "kind: \"x\" is none of",
		"/api/v1/history?from=yesterday":              "from: \"yesterday\" is not a time like",
		"/api/v1/history?until=0001-01-01T00:00:00Z":  "until: ",
		"/api/v1/history?limit=0":                     "limit: ",
		"/api/v1/history?cursor=-1":                   "cursor: not a cursor of this list",
		"/api/v1/history?cursor=18446744073709551615": "cursor: not a cursor of this list",
		"/api/v1/history?limit=1&limit=2":             "limit: is there more than once",
		"/api/v1/history?instances=this":              "instances: only the history of one agent has it",
		agent + "?instances=some":                     "instances: neither all nor this",
		agent + "?%zz":                                "query: ",
	} {
		w := get(a, target)
		require.Equal(t, http.StatusBadRequest, w.Code, target)
		assert.Contains(t, decode(t, w)["error"].(map[string]any)["message"], want, target)
	}
}

// brokenHistory can't be read.
type brokenHistory struct{}

func (brokenHistory) Events(context.Context, fleet.EventQuery) (fleet.EventPage, error) {
	return fleet.EventPage{}, errors.New("secret detail of the disk")
}

func (brokenHistory) Config(context.Context, fleet.Sum) (*fleet.Config, error) {
	return nil, errors.New("secret detail of the disk")
}

func TestHistoryThatCanNotBeRead(t *testing.T) {
	a := New(fleet.New(fleet.Settings{}), Settings{History: brokenHistory{}})
	t.Cleanup(a.Close)
	past := "/api/v1/configs/" + strings.Repeat("ab", 32)
	for _, target := range []string{
		"/api/v1/history", "/api/v1/agents/" + apiUID(1).String() + "/history", past, past + "/diff/majority",
		"/api/v1/rollout?of=config&value=" + strings.Repeat("ab", 32),
	} {
		w := get(a, target)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code, target)
		assert.NotContains(t, w.Body.String(), "secret")
	}
}
