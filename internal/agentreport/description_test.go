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
	"google.golang.org/protobuf/proto"
)

const testUID = "019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90"

var (
	testBuild = component.BuildInfo{Command: "otelcol-fleetview", Version: "0.1.0"}
	testHost  = Host{OSType: "linux", OSDescription: "Debian 12.11", Arch: "amd64", Name: "gateway-1"}
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
			InstanceUID: testUID, BuildInfo: testBuild, Host: testHost, Resource: pcommon.NewResource(),
		},
		"description_resource": {
			InstanceUID: testUID, BuildInfo: testBuild, Host: testHost, Resource: resource(t, full),
			IncludeResource: true,
			NonIdentifying:  map[string]string{"deployment.environment": "user-says-so", "rack": "12"},
		},
		"description_resource_not_included": {
			InstanceUID: testUID, BuildInfo: testBuild, Host: testHost, Resource: resource(t, full),
		},
		"description_supervised": {
			InstanceUID: testUID, Supervised: true, BuildInfo: testBuild, Host: testHost, Resource: resource(t, full),
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
	require.Len(t, keys, MaxAttributes+4)
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
