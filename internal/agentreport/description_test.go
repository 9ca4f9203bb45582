// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"fmt"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
)

const testUID = "019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90"

var (
	testBuild   = component.BuildInfo{Command: "otelcol-fleetview", Version: "0.1.0"}
	testHost    = Host{OSType: "linux", OSDescription: "Debian 12.11", Arch: "amd64", Name: "gateway-1", ID: "8d2c4f6a0b1e4c3d9f5a7e6b1c2d3e4f"}
	testProcess = Process{PID: 4711, Executable: "otelcol-fleetview", RuntimeName: "go", RuntimeVersion: "go1.26.8"}
)

func resource(t *testing.T, attrs map[string]any) pcommon.Resource {
	t.Helper()
	r := pcommon.NewResource()
	require.NoError(t, r.Attributes().FromRaw(attrs))
	return r
}

func TestDescriptionGolden(t *testing.T) {
	full := map[string]any{
		"service.instance.id":    "node-7",
		"service.name":           "edge",
		"service.version":        "2.0.0",
		"service.namespace":      "shop",
		"deployment.environment": "prod",
		"host.name":              "from-resource",
		"replicas":               int64(3),
		"ratio":                  0.5,
		"spot":                   true,
		"zones":                  []any{"a", "b"},
		"owner":                  map[string]any{"team": "sre", "tier": int64(1)},
		"blob":                   []byte{1, 2, 3},
	}
	for name, facts := range map[string]Facts{
		"description_plain": {
			InstanceUID: testUID, BuildInfo: testBuild, Host: testHost, Process: testProcess, Resource: pcommon.NewResource(),
		},
		"description_resource": {
			InstanceUID: testUID, BuildInfo: testBuild, Host: testHost, Resource: resource(t, full),
			Process: testProcess, IncludeResource: true,
			Identifying:    map[string]string{"k8s.cluster.name": "blue", "host.arch": "the user's"},
			NonIdentifying: map[string]string{"deployment.environment": "user-says-so", "rack": "12"},
		},
		"description_resource_not_included": {
			InstanceUID: testUID, BuildInfo: testBuild, Host: testHost, Resource: resource(t, full),
		},
		"description_supervised": {
			InstanceUID: testUID, Supervised: true, BuildInfo: testBuild, Host: testHost, Process: testProcess, Resource: resource(t, full),
		},
		"description_host_unknown": {
			InstanceUID: testUID, BuildInfo: testBuild, Host: Host{OSType: "linux", Arch: "arm64"},
		},
	} {
		t.Run(name, func(t *testing.T) { requireGolden(t, name, Description(facts)) })
	}
}

// The order of the identifying attributes is fixed: a supervisor and people read
// them as a list.
func TestIdentifyingOrder(t *testing.T) {
	d := Description(Facts{InstanceUID: testUID, BuildInfo: testBuild, Resource: resource(t, map[string]any{"service.namespace": "shop"})})
	require.Equal(t,
		[]string{"service.instance.id", "service.name", "service.version", "service.namespace"},
		keysOf(d.GetIdentifyingAttributes()))
}

func TestIdentifyingAttributesOfTheUser(t *testing.T) {
	f := Facts{
		InstanceUID: testUID, BuildInfo: testBuild, Host: testHost, IncludeResource: true,
		Resource: resource(t, map[string]any{"service.namespace": "shop", "k8s.pod.name": "pod-1", "zone": "a"}),
		Identifying: map[string]string{
			"zone": "b", "host.name": "mine", "k8s.pod.name": "pod-2", "service.namespace": "mine",
			"service.instance.id": "not taken", "service.name": "not taken", "service.version": "not taken",
		},
	}
	d := Description(f)
	got := map[string]string{}
	for _, kv := range d.GetIdentifyingAttributes() {
		got[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	require.Equal(t, map[string]string{
		"service.instance.id": testUID, "service.name": "otelcol-fleetview", "service.version": "0.1.0",
		"service.namespace": "mine", "zone": "b", "host.name": "mine", "k8s.pod.name": "pod-2",
	}, got)
	require.Equal(t, []string{"service.instance.id", "service.name", "service.version", "service.namespace", "host.name", "k8s.pod.name", "zone"},
		keysOf(d.GetIdentifyingAttributes()))
	require.Equal(t, []string{"host.arch", "host.id", "os.description", "os.type"},
		keysOf(d.GetNonIdentifyingAttributes()), "none is told twice")

	f.Identifying["service.namespace"] = ""
	require.NotContains(t, keysOf(Description(f).GetIdentifyingAttributes()), "service.namespace", "taken away")
}

// A supervisor writes these values between double quotes into a YAML file that the
// Collector expands, and pins them to the next process.
func TestAutomaticAttributesSurviveASupervisor(t *testing.T) {
	nasty := "a\"b\\c\nd${env:HOME}\x00\xff\u2028e "
	f := Facts{
		InstanceUID: testUID,
		Supervised:  true,
		Host:        Host{OSType: nasty, OSDescription: nasty, Arch: nasty, Name: nasty, ID: nasty},
		Process:     testProcess,
	}
	kvs := Description(f).GetNonIdentifyingAttributes()
	require.Equal(t, []string{"host.arch", "host.id", "host.name", "os.description", "os.type"}, keysOf(kvs), "nothing of the process")
	for _, kv := range kvs {
		require.Equal(t, "a'b/c d{env:HOME}  e", kv.GetValue().GetStringValue())
		var parsed map[string]string
		require.NoError(t, yaml.Unmarshal([]byte(`k: "`+kv.GetValue().GetStringValue()+`"`), &parsed))
		require.Equal(t, kv.GetValue().GetStringValue(), parsed["k"])
	}

	f.Supervised = false
	require.Contains(t, keysOf(Description(f).GetNonIdentifyingAttributes()), "process.pid")
}

func TestProcessAttributes(t *testing.T) {
	typed := func(f Facts) map[string]any {
		got := map[string]any{}
		for _, kv := range Description(f).GetNonIdentifyingAttributes() {
			if kv.GetKey() == "process.pid" {
				got[kv.GetKey()] = kv.GetValue().GetIntValue()
				continue
			}
			got[kv.GetKey()] = kv.GetValue().GetStringValue()
		}
		return got
	}
	require.Equal(t, map[string]any{
		"process.pid": int64(4711), "process.executable.name": "otelcol-fleetview",
		"process.runtime.name": "go", "process.runtime.version": "go1.26.8",
	}, typed(Facts{Process: testProcess}))
	require.Empty(t, typed(Facts{}))
	require.Equal(t, map[string]any{"process.runtime.name": "mine"},
		typed(Facts{Process: Process{RuntimeName: "go"}, NonIdentifying: map[string]string{"process.runtime.name": "mine"}}))
}

func TestServiceInstanceID(t *testing.T) {
	for name, tc := range map[string]struct {
		resource   map[string]any
		supervised bool
		want       string
	}{
		"no resource attribute":         {nil, false, testUID},
		"empty resource attribute":      {map[string]any{"service.instance.id": ""}, false, testUID},
		"the resource's":                {map[string]any{"service.instance.id": "4c1e"}, false, "4c1e"},
		"the resource's, not a string":  {map[string]any{"service.instance.id": int64(7)}, false, "7"},
		"supervised reports the UID":    {map[string]any{"service.instance.id": "4c1e"}, true, testUID},
		"supervised without a resource": {nil, true, testUID},
	} {
		t.Run(name, func(t *testing.T) {
			d := Description(Facts{InstanceUID: testUID, Supervised: tc.supervised, Resource: resource(t, tc.resource)})
			require.Equal(t, tc.want, d.GetIdentifyingAttributes()[0].GetValue().GetStringValue())
		})
	}
}

func TestUserAttributeWinsOverResourceOverHost(t *testing.T) {
	facts := Facts{Host: testHost, Resource: resource(t, map[string]any{"host.name": "resource"})}
	require.Equal(t, "gateway-1", nonIdentifyingText(facts, "host.name"))

	facts.IncludeResource = true
	require.Equal(t, "resource", nonIdentifyingText(facts, "host.name"))

	facts.NonIdentifying = map[string]string{"host.name": "user"}
	require.Equal(t, "user", nonIdentifyingText(facts, "host.name"))
}

// Attributes are sorted and bounded, and every string is valid UTF-8, or the
// whole message would be refused.
func TestDescriptionIsBoundedAndEncodable(t *testing.T) {
	attrs := map[string]any{"bad": "\xff\xfe", "long": strings.Repeat("x", 1<<20)}
	for i := range 1000 {
		attrs[fmt.Sprintf("attr.%04d", i)] = "v"
	}
	attrs["attr.0000"] = map[string]any{"list": make([]any, 1000), "deep": nested(20)}
	d := Description(Facts{Host: testHost, Resource: resource(t, attrs), IncludeResource: true})

	keys := keysOf(d.GetNonIdentifyingAttributes())
	require.IsIncreasing(t, keys)
	require.Len(t, keys, MaxAttributes+5)
	raw, err := proto.Marshal(d)
	require.NoError(t, err)
	require.Less(t, len(raw), 64<<10)
}

func TestDescriptionOfTheZeroFacts(t *testing.T) {
	d := Description(Facts{IncludeResource: true})
	require.Len(t, d.GetIdentifyingAttributes(), 3)
	require.Empty(t, d.GetNonIdentifyingAttributes())
}

func nested(depth int) any {
	if depth == 0 {
		return "bottom"
	}
	return map[string]any{"k": nested(depth - 1)}
}

func keysOf(kvs []*protobufs.KeyValue) []string {
	keys := make([]string, 0, len(kvs))
	for _, kv := range kvs {
		keys = append(keys, kv.GetKey())
	}
	return keys
}

func nonIdentifyingText(f Facts, key string) string {
	for _, kv := range Description(f).GetNonIdentifyingAttributes() {
		if kv.GetKey() == key {
			return kv.GetValue().GetStringValue()
		}
	}
	return ""
}
