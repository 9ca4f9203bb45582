// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// roundTrip writes an agent down with all that it shares, and reads it.
func roundTrip(t *testing.T, a *Agent) *Agent {
	t.Helper()
	var c *Config
	var l *Components
	if a.Config != nil {
		raw, err := a.Config.Marshal()
		require.NoError(t, err)
		c, err = UnmarshalConfig(raw, a.Config.Sum())
		require.NoError(t, err)
	}
	if a.Components != nil {
		raw, err := a.Components.Marshal()
		require.NoError(t, err)
		l, err = UnmarshalComponents(raw, a.Components.Sum())
		require.NoError(t, err)
	}
	raw, err := a.Marshal()
	require.NoError(t, err)
	out, err := Unmarshal(raw, a.Heard(), c, l)
	require.NoError(t, err)
	return out
}

func TestWhatIsSavedIsRestored(t *testing.T) {
	since := time.Unix(1_700_000_000, 123_456_789).UTC()
	attributes := []Attribute{
		{Key: "nothing"},
		{Key: "text", Value: "a"},
		{Key: "empty", Value: ""},
		{Key: "truth", Value: false},
		{Key: "number", Value: int64(math.MinInt64)},
		{Key: "fraction", Value: math.Inf(-1)},
		{Key: "bytes", Value: []byte{0, 255}},
		{Key: "list", Value: []any{"x", int64(1), []any{}}},
		{Key: "map", Value: []Attribute{{Key: "k", Value: "v"}}},
	}
	a := &Agent{
		UID: scenarioUID("a"), FirstSeen: since, LastSeen: since.Add(time.Hour), Seq: math.MaxUint64,
		Liveness: LivenessLost, LivenessSince: since.Add(time.Minute), Transport: TransportHTTP, RemoteAddr: "[::1]:4",
		Lineage: Lineage{
			Logical: "host.name=h", Runs: 3, KnownSince: since.Add(-time.Hour), Before: scenarioUID("b"),
			troubles: []time.Time{since},
		},
		Capabilities: definedCapabilities, CustomCapabilities: []string{"x.y"},
		Description: &Description{Identifying: attributes, NonIdentifying: attributes[:1], Omitted: 2, bytes: 77},
		Health: &Health{
			Status: statusRecoverable, Since: since, StartedAt: since, Attributes: attributes, Omitted: 1, bytes: 99,
			Children: []*Health{{Name: "pipeline:traces", Healthy: true, Status: statusOK, LastError: "é\x00", Since: since}},
		},
		Config:     &Config{Files: []ConfigFile{{Name: "", Body: "a: 1", Size: 4}}, Omitted: 1, bytes: 5},
		Components: &Components{Hash: []byte{1, 2}, Listed: true, List: []*Component{{Name: "receivers", Metadata: attributes}}},
	}
	a.Config.sum, a.Components.sum = a.Config.hash(), a.Components.digest()
	a.talk.synced = true
	a.talk.rhythm = rhythm{pause: 5 * time.Minute, last: 5 * time.Minute, count: steady}
	a.Problems = problems(a.Health)
	a.search = a.searchText()

	assert.Equal(t, a, roundTrip(t, a))
}

func TestWhatWasGivenUpIsRestoredAsSuch(t *testing.T) {
	f := New(Settings{})
	msg := fullReport(0)
	msg.Health = scenarioHealth(words{}, []string{"pipeline:traces/exporter:otlp=StatusPermanentError:no_route"})
	f.Report(testConn, reportOf("a", msg), testNow)
	whole, _ := f.Agent(scenarioUID("a"))
	a := *whole
	a.Problems[0].Error = string(make([]byte, 1000))
	a.Health.bytes = 1 << 20
	require.NotZero(t, a.strip(PartHealth))

	back := roundTrip(t, &a)

	assert.Equal(t, a.Problems, back.Problems)
	assert.Equal(t, a.Health, back.Health)
}

func TestWhatIsNotTheSavedContentIsRefused(t *testing.T) {
	c := &Config{Files: []ConfigFile{{Body: "a"}}}
	raw, err := c.Marshal()
	require.NoError(t, err)
	_, err = UnmarshalConfig(raw, Sum{1})
	require.ErrorIs(t, err, ErrNotSaved)
	_, err = UnmarshalConfig([]byte("{"), Sum{})
	require.ErrorIs(t, err, ErrNotSaved)
	_, err = UnmarshalComponents([]byte("{}"), Sum{1})
	require.ErrorIs(t, err, ErrNotSaved)
	_, err = UnmarshalComponents([]byte("no"), Sum{1})
	require.ErrorIs(t, err, ErrNotSaved)
	_, err = Unmarshal([]byte("{}"), Heard{}, nil, nil)
	require.ErrorIs(t, err, ErrNotSaved)
	_, err = Unmarshal([]byte("[]"), Heard{UID: scenarioUID("a")}, nil, nil)
	require.ErrorIs(t, err, ErrNotSaved)

	sum, err := ParseSum(c.hash().String())
	require.NoError(t, err)
	assert.Equal(t, c.hash(), sum)
	for _, s := range []string{"", "zz", c.Hash() + "00", "g" + c.Hash()[1:]} {
		_, err := ParseSum(s)
		assert.Error(t, err, s)
	}
}
