// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampwire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

var (
	uidA = InstanceUID{0: 0x01, 15: 0xa}
	uidB = InstanceUID{0: 0x01, 15: 0xb}
)

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	require.NoError(t, err)
	return b
}

func uidField(uid []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), uid)
}

func TestScanAgentMessage(t *testing.T) {
	honest := encode(t, &protobufs.AgentToServer{
		InstanceUid: uidA.Bytes(), SequenceNum: 300, Capabilities: 7,
		Health:        &protobufs.ComponentHealth{LastError: strings.Repeat("e", 1000)},
		CustomMessage: &protobufs.CustomMessage{Capability: "x"},
	})
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 4000, protowire.VarintType), 9)
	fixed := protowire.AppendFixed64(protowire.AppendTag(nil, 500, protowire.Fixed64Type), 9)
	group := protowire.AppendTag(protowire.AppendTag(nil, 77, protowire.StartGroupType), 77, protowire.EndGroupType)
	tests := map[string]struct {
		in   []byte
		want AgentMessage
		bad  error
		says string
	}{
		"honest":       {in: honest, want: AgentMessage{UID: uidA, SequenceNum: 300, Capabilities: 7, Custom: true}},
		"uid last":     {in: append(bytes.Clone(unknown), uidField(uidA[:])...), want: AgentMessage{UID: uidA}},
		"unknown ones": {in: append(append(uidField(uidA[:]), unknown...), fixed...), want: AgentMessage{UID: uidA}},
		"goodbye":      {in: AppendGoodbye(nil, uidA, 3)[1:], want: AgentMessage{UID: uidA, SequenceNum: 3, Disconnect: true}},
		"empty":        {in: nil, bad: ErrBadInstanceUID, says: "there is none"},
		"two uids":     {in: append(bytes.Clone(honest), uidField(uidB[:])...), bad: ErrMalformed, says: "more than one instance_uid"},
		"one uid twice": {
			in: append(bytes.Clone(honest), uidField(uidA[:])...), bad: ErrMalformed, says: "more than one instance_uid",
		},
		"a second uid that is none": {in: append(bytes.Clone(honest), uidField(nil)...), bad: ErrMalformed},
		"15 bytes":                  {in: uidField(make([]byte, 15)), bad: ErrBadInstanceUID},
		"26 bytes":                  {in: uidField(make([]byte, 26)), bad: ErrBadInstanceUID},
		"zero uid":                  {in: uidField(make([]byte, 16)), bad: ErrBadInstanceUID},
		"uid as a number":           {in: []byte{0x08, 1}, bad: ErrMalformed, says: "wire type 0"},
		"truncated":                 {in: honest[:len(honest)-1], bad: ErrMalformed, says: "incomplete"},
		"group":                     {in: append(bytes.Clone(honest), group...), bad: ErrMalformed, says: "wire type 3"},
		"field 0":                   {in: append(bytes.Clone(honest), 0x02, 0), bad: ErrMalformed, says: "field number 0"},
		"huge field number":         {in: append(bytes.Clone(honest), 0xf8, 0xff, 0xff, 0xff, 0x7f, 0), bad: ErrMalformed, says: "field number"},
		"endless tag":               {in: bytes.Repeat([]byte{0xff}, 20), bad: ErrMalformed, says: "tag"},
		"length beyond":             {in: []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, bad: ErrMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ScanAgentMessage(tt.in)
			if tt.bad != nil {
				require.ErrorIs(t, err, tt.bad)
				require.ErrorContains(t, err, tt.says)
				require.Zero(t, got)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestScanServerMessage(t *testing.T) {
	caps := encode(t, &protobufs.ServerToAgent{Capabilities: 5})
	offers := encode(t, &protobufs.ServerToAgent{CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"c"}}})
	tests := map[string]struct {
		in   []byte
		want ServerMessage
		bad  error
	}{
		"empty":   {in: nil, want: ServerMessage{Bare: true}},
		"no uid":  {in: uidField(nil), want: ServerMessage{Bare: true}},
		"ack":     {in: encode(t, &protobufs.ServerToAgent{InstanceUid: uidA.Bytes(), Capabilities: 5}), want: ServerMessage{UID: uidA, Bare: true, Capabilities: caps}},
		"offers":  {in: append(uidField(uidA[:]), offers...), want: ServerMessage{UID: uidA, CustomOffers: offers}},
		"error":   {in: encode(t, &protobufs.ServerToAgent{ErrorResponse: &protobufs.ServerErrorResponse{}}), want: ServerMessage{Error: true}},
		"message": {in: encode(t, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{}}), want: ServerMessage{CustomMessage: true}},
		"settings": {
			in:   encode(t, &protobufs.ServerToAgent{ConnectionSettings: &protobufs.ConnectionSettingsOffers{}}),
			want: ServerMessage{ConnectionSettings: true},
		},
		"another uid": {
			in:   encode(t, &protobufs.ServerToAgent{InstanceUid: uidA.Bytes(), AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: uidB.Bytes()}}),
			want: ServerMessage{UID: uidA, NewUID: uidB},
		},
		"another uid that is none": {
			in:   encode(t, &protobufs.ServerToAgent{AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: []byte("short")}}),
			want: ServerMessage{},
		},
		"two uids": {in: append(uidField(uidA[:]), uidField(uidB[:])...), bad: ErrMalformed},
		"17 bytes": {in: uidField(make([]byte, 17)), bad: ErrBadInstanceUID},
		"broken":   {in: []byte{0x42, 1, 0xff}, bad: ErrMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ScanServerMessage(tt.in)
			if tt.bad != nil {
				require.ErrorIs(t, err, tt.bad)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestUsesCapability(t *testing.T) {
	message := func(caps ...string) []byte {
		var b []byte
		for _, c := range caps {
			b = append(b, encode(t, &protobufs.AgentToServer{CustomMessage: &protobufs.CustomMessage{Capability: c, Data: []byte("d")}})...)
		}
		return b
	}
	assert.True(t, UsesCapability(message("reserved"), "reserved"))
	assert.True(t, UsesCapability(message("reserved", "innocent"), "reserved"), "a decoder would see the second one only")
	assert.True(t, UsesCapability(message("innocent", "reserved"), "reserved"))
	assert.False(t, UsesCapability(message("innocent"), "reserved"))
	offers := encode(t, &protobufs.AgentToServer{CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"a", "reserved"}}})
	assert.True(t, UsesCapability(offers, "reserved"))
	hidden := append([]byte{0x0b, 0x0c}, encode(t, &protobufs.CustomMessage{Capability: "reserved"})...) // behind a group, which a decoder skips
	field := protowire.AppendBytes(protowire.AppendTag(nil, fieldAgentCustomMessage, protowire.BytesType), hidden)
	decoded := new(protobufs.AgentToServer)
	require.NoError(t, proto.Unmarshal(field, decoded))
	require.Equal(t, "reserved", decoded.GetCustomMessage().GetCapability())
	assert.True(t, UsesCapability(field, "reserved"))
	assert.False(t, UsesCapability(encode(t, &protobufs.AgentToServer{Health: &protobufs.ComponentHealth{LastError: "reserved"}}), "reserved"))
}

func TestServerCustomMessage(t *testing.T) {
	got, ok := ServerCustomMessage(encode(t, &protobufs.ServerToAgent{
		InstanceUid:   uidA.Bytes(),
		CustomMessage: &protobufs.CustomMessage{Capability: "c", Type: "t", Data: []byte("d")},
	}))
	assert.True(t, ok)
	assert.Equal(t, CustomMessage{Capability: "c", Type: "t", Data: []byte("d")}, got)
	_, ok = ServerCustomMessage(encode(t, &protobufs.ServerToAgent{InstanceUid: uidA.Bytes()}))
	assert.False(t, ok)
}

func TestHeartbeatAndGoodbyeAreMessages(t *testing.T) {
	beat, bye := new(protobufs.AgentToServer), new(protobufs.AgentToServer)
	require.NoError(t, ParseFrame(AppendHeartbeat(nil, uidA, 1<<40), beat))
	require.NoError(t, ParseFrame(AppendGoodbye(nil, uidA, 7), bye))
	assert.True(t, proto.Equal(&protobufs.AgentToServer{InstanceUid: uidA.Bytes(), SequenceNum: 1 << 40}, beat))
	assert.True(t, proto.Equal(&protobufs.AgentToServer{
		InstanceUid: uidA.Bytes(), SequenceNum: 7, AgentDisconnect: &protobufs.AgentDisconnect{},
	}, bye))
}

func TestRedirectOffers(t *testing.T) {
	offer := func(s *protobufs.OpAMPConnectionSettings) []byte {
		return encode(t, &protobufs.ServerToAgent{
			InstanceUid: uidA.Bytes(),
			ConnectionSettings: &protobufs.ConnectionSettingsOffers{
				Hash: []byte("h"), Opamp: s,
				OwnMetrics: &protobufs.TelemetryConnectionSettings{DestinationEndpoint: "https://metrics"},
			},
		})
	}
	headers := &protobufs.Headers{Headers: []*protobufs.Header{{Key: "Authorization", Value: "x"}}}
	around := &protobufs.OpAMPConnectionSettings{
		DestinationEndpoint: "wss://server", Headers: headers, HeartbeatIntervalSeconds: 30,
		Certificate: &protobufs.TLSCertificate{Cert: []byte("c")}, Tls: &protobufs.TLSConnectionSettings{MinVersion: "1.3"},
		Proxy: &protobufs.ProxyConnectionSettings{Url: "http://proxy"},
	}
	for to, want := range map[string]*protobufs.OpAMPConnectionSettings{
		"":              {Headers: headers, HeartbeatIntervalSeconds: 30},
		"wss://gateway": {DestinationEndpoint: "wss://gateway", Headers: headers, HeartbeatIntervalSeconds: 30},
	} {
		out, d, err := RedirectOffers(offer(around), to)
		require.NoError(t, err)
		assert.Equal(t, Destination{Found: true, Endpoint: "wss://server"}, d)
		got, wanted := new(protobufs.ServerToAgent), new(protobufs.ServerToAgent)
		require.NoError(t, proto.Unmarshal(out, got))
		require.NoError(t, proto.Unmarshal(offer(want), wanted))
		assert.True(t, proto.Equal(wanted, got), "%v", got)
	}
	twice := append(offer(around), offer(around)...)
	out, _, err := RedirectOffers(twice, "")
	require.NoError(t, err)
	got := new(protobufs.ServerToAgent)
	require.NoError(t, proto.Unmarshal(out, got))
	assert.Empty(t, got.GetConnectionSettings().GetOpamp().GetDestinationEndpoint(), "a decoder merges both")

	here := offer(&protobufs.OpAMPConnectionSettings{Headers: headers, Certificate: &protobufs.TLSCertificate{Cert: []byte("c")}})
	out, d, err := RedirectOffers(here, "wss://gateway")
	require.NoError(t, err)
	assert.False(t, d.Found)
	assert.Equal(t, here, out, "settings of the connection that the agent has are its server's business")

	// What stands beside the destination goes with it, wherever in the message it stands.
	out, d, err = RedirectOffers(append(bytes.Clone(here), offer(around)...), "")
	require.NoError(t, err)
	assert.True(t, d.Found)
	got.Reset()
	require.NoError(t, proto.Unmarshal(out, got))
	assert.Empty(t, got.GetConnectionSettings().GetOpamp().GetDestinationEndpoint())
	assert.Nil(t, got.GetConnectionSettings().GetOpamp().GetCertificate())

	_, _, err = RedirectOffers([]byte{0x22, 2, 0x12, 0xff}, "")
	require.ErrorIs(t, err, ErrMalformed)
	settings := append([]byte{0x0b, 0x0c}, // a group, which a decoder skips, before the destination
		encode(t, &protobufs.OpAMPConnectionSettings{DestinationEndpoint: "wss://server"})...)
	nested := func(number protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
	}
	_, _, err = RedirectOffers(nested(fieldConnectionSettings, nested(fieldOpAMPSettings, settings)), "")
	require.ErrorIs(t, err, ErrMalformed, "it is not passed on")
}

// What the scan accepts and a decoder accepts have the same instance UID.
func FuzzScanAgentMessage(f *testing.F) {
	f.Add(AppendGoodbye(nil, uidA, 3)[1:])
	f.Add(append(uidField(uidA[:]), uidField(uidB[:])...))
	f.Add(append(uidField(uidA[:]), 0x0b, 0x0c))
	f.Add([]byte{0x8a, 0x80, 0x00, 0x01, 0x41})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ScanAgentMessage(b)
		if err != nil {
			return
		}
		msg := new(protobufs.AgentToServer)
		if proto.Unmarshal(b, msg) != nil {
			return // the inside of another field, which is not looked at
		}
		if !bytes.Equal(got.UID[:], msg.GetInstanceUid()) {
			t.Fatalf("%x scanned as %x, decoded as %x", b, got.UID, msg.GetInstanceUid())
		}
		if got.Disconnect != (msg.GetAgentDisconnect() != nil) && got.Disconnect == false {
			t.Fatalf("%x: agent_disconnect was not seen", b)
		}
		capability := msg.GetCustomMessage().GetCapability()
		if capability != "" && !UsesCapability(b, capability) {
			t.Fatalf("%x: capability %q was not seen", b, capability)
		}
	})
}

// What the scan accepts, and every edit of it, says the same to a decoder.
func FuzzScanServerMessage(f *testing.F) {
	f.Add(uidField(uidA[:]))
	f.Add([]byte{0x22, 0x08, 0x12, 0x06, 0x0a, 0x01, 'x', 0x20, 0x1e, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ScanServerMessage(b)
		if err != nil {
			return
		}
		msg := new(protobufs.ServerToAgent)
		if proto.Unmarshal(b, msg) != nil {
			return
		}
		if !bytes.Equal(got.UID[:], msg.GetInstanceUid()) && len(msg.GetInstanceUid()) > 0 {
			t.Fatalf("%x scanned as %x, decoded as %x", b, got.UID, msg.GetInstanceUid())
		}
		out, _, err := RedirectOffers(b, "")
		if err != nil {
			return
		}
		edited := new(protobufs.ServerToAgent)
		if err := proto.Unmarshal(out, edited); err != nil {
			t.Fatalf("%x became %x: %v", b, out, err)
		}
		if e := edited.GetConnectionSettings().GetOpamp().GetDestinationEndpoint(); e != "" {
			t.Fatalf("%x: destination %q is left", b, e)
		}
	})
}

func BenchmarkScanAgentMessage(b *testing.B) {
	full := &protobufs.AgentToServer{
		InstanceUid: uidA.Bytes(), SequenceNum: 3, Capabilities: 7,
		AgentDescription: &protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{Key: strings.Repeat("k", 500)}}},
		Health:           &protobufs.ComponentHealth{LastError: strings.Repeat("e", 1500)},
		EffectiveConfig:  &protobufs.EffectiveConfig{}, RemoteConfigStatus: &protobufs.RemoteConfigStatus{},
	}
	for name, m := range map[string][]byte{"heartbeat": AppendHeartbeat(nil, uidA, 300)[1:], "report": encode(b, full)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ScanAgentMessage(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
