// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// reportMany has agents tell a config of their own each, more than a question reads.
func reportMany(t *testing.T, f *fleet.Fleet) (many int) {
	t.Helper()
	const agents = 2000
	for n := range agents {
		uid := opampwire.InstanceUID{0x01, 0x9b, 14: byte(n >> 8), 15: byte(n)}
		require.Nil(t, f.Report(apiConn, &protobufs.AgentToServer{
			InstanceUid: uid.Bytes(), Capabilities: 1,
			EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
				ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: fmt.Appendf(nil, "a: %d\n", n)}},
			}},
		}, apiNow).GetErrorResponse())
	}
	return agents
}

func readAll(a *API) {
	for a.index.Read(64) > 0 { //nolint:revive // it does the work
	}
}

func TestAnswersSayHowManyConfigsAreUnread(t *testing.T) {
	f, a := newTestAPI(t, fullReport(1, "gateway"))
	many := reportMany(t, f)
	hash := configHash(t, a)
	targets := []string{
		"/api/v1/agents?limit=1", "/api/v1/facets?facets=family", "/api/v1/components", "/api/v1/problems", "/api/v1/configs",
		"/api/v1/configs/" + hash, "/api/v1/coverage", "/api/v1/disappeared", "/api/v1/rollout?of=config&value=" + hash,
	}
	for _, target := range targets {
		unread := decode(t, get(a, target))["unread_configs"].(float64)
		assert.Positive(t, unread, target)
		assert.Less(t, unread, float64(many), target)
	}
	configs := decode(t, get(a, "/api/v1/configs"))
	assert.Equal(t, configs["unread_configs"], configs["unread_agents"])
	assert.EqualValues(t, many+1, configs["agents"])
	for _, list := range []string{"agents?limit=1&", "components?", "problems?", "coverage?", "disappeared?", "rollout?of=config&value=" + hash + "&"} {
		n, err := strconv.Atoi(get(a, "/api/v1/"+list+"format=csv").Header().Get("Fleetview-Unread-Configs"))
		require.NoError(t, err, list)
		assert.Positive(t, n, list)
	}

	readAll(a)
	for _, target := range targets {
		assert.Zero(t, decode(t, get(a, target))["unread_configs"], target)
	}
	assert.Empty(t, get(a, "/api/v1/agents?format=csv").Header().Get("Fleetview-Unread-Configs"))
}

// Whoever was told of configs that were not read is told when they are: whether it listened before or not.
func TestAStreamTellsThatAllConfigsAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		a := New(f, Settings{})
		many := reportMany(t, f)
		position := f.Position().String()
		told := fmt.Sprintf("changed id=%d version=%d", many, many)
		listen := "?view=version&since=" + position

		early, stop := follow(t, a, listen)
		defer stop()
		other, stopOther := follow(t, a, "?since="+position)
		defer stopOther()
		assert.Equal(t, "retry: 2000", early.take())
		assert.Equal(t, "retry: 2000", other.take())
		get(a, "/api/v1/configs")
		a.index.Read(64)
		synctest.Wait()
		assert.Empty(t, early.take())
		readAll(a)
		synctest.Wait()
		assert.Equal(t, told, early.take())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Empty(t, early.take(), "once")
		assert.Empty(t, other.take(), "no agent has changed")

		late, stop := follow(t, a, listen+"&unread=true")
		defer stop()
		assert.Equal(t, "retry: 2000\n"+told, late.take())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Empty(t, late.take())
		third, stop := follow(t, a, listen+"&unread=false")
		defer stop()
		assert.Equal(t, "retry: 2000", third.take())
	})
	_, a := newTestAPI(t)
	assert.Equal(t, http.StatusBadRequest, get(a, "/api/v1/events?view=version&unread=perhaps").Code)
}
