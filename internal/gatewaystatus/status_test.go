// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gatewaystatus

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func TestStatusRoundTrip(t *testing.T) {
	want := &Status{
		Gateway: "opamp_gateway", Updated: 2, Started: 1, Agents: 3, Connections: 2, Polling: 1,
		Upstreams:  []Upstream{{Name: "0", Endpoint: "wss://server/v1/opamp", Connected: true, Agents: 3, AnswerTime: 0.25}},
		MessagesUp: 4, Drops: map[string]uint64{"no_upstream": 1}, Duplicates: 1,
	}
	data, err := json.Marshal(want)
	require.NoError(t, err)
	got, err := ParseStatus(data)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestAgentsRoundTrip(t *testing.T) {
	uids := make([]opampwire.InstanceUID, 2*PartSize+1)
	for i := range uids {
		binary.BigEndian.PutUint32(uids[i][:], uint32(i+1))
	}
	list := List("g", 7, uids)
	require.Len(t, list, 3)
	var got []opampwire.InstanceUID
	for i, part := range list {
		data, err := json.Marshal(part)
		require.NoError(t, err)
		require.Less(t, len(data), MaxSize)
		a, err := ParseAgents(data)
		require.NoError(t, err)
		require.Equal(t, []int{i, 3}, []int{a.Part, a.Parts})
		a.Each(func(uid opampwire.InstanceUID) bool { got = append(got, uid); return true })
	}
	assert.Equal(t, uids, got)
	assert.Equal(t, []Agents{{Gateway: "g", Version: 1, Parts: 1, UIDs: []byte{}}}, List("g", 1, nil), "nobody is news as well")
}

func TestWhatIsNoStatus(t *testing.T) {
	long := strings.Repeat("x", MaxText+1)
	for name, text := range map[string]string{
		"empty":         "",
		"no JSON":       "{",
		"huge":          `{"gateway":"` + strings.Repeat("x", MaxSize) + `"}`,
		"long name":     `{"gateway":"` + long + `"}`,
		"long reason":   `{"drops":{"` + long + `":1}}`,
		"long upstream": `{"upstreams":[{"name":"` + long + `"}]}`,
		"upstreams":     `{"upstreams":[` + strings.Repeat("{},", MaxUpstreams) + `{}]}`,
		"negative":      `{"messages_up":-1}`,
	} {
		_, err := ParseStatus([]byte(text))
		assert.ErrorIs(t, err, ErrMalformed, name)
	}
	for name, text := range map[string]string{
		"no part":     `{}`,
		"part 1 of 1": `{"part":1,"parts":1}`,
		"part -1":     `{"part":-1,"parts":1}`,
		"many parts":  `{"parts":100000}`,
		"15 bytes":    `{"parts":1,"uids":"AAAAAAAAAAAAAAAAAAAA"}`,
		"long name":   `{"parts":1,"gateway":"` + long + `"}`,
	} {
		_, err := ParseAgents([]byte(text))
		assert.ErrorIs(t, err, ErrMalformed, name)
	}
	a, err := ParseAgents([]byte(`{"parts":1,"uids":"AAAAAAAAAAAAAAAAAAAAAA=="}`))
	require.NoError(t, err)
	a.Each(func(opampwire.InstanceUID) bool { t.Error("a zero UID is none"); return true })
}
