// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestEffectiveConfigGolden(t *testing.T) {
	conf := map[string]any{
		"receivers": map[string]any{"otlp": map[string]any{"protocols": map[string]any{"grpc": map[string]any{"endpoint": "127.0.0.1:4317"}}}},
		"exporters": map[string]any{"nop": nil, "otlp": map[string]any{"headers": map[string]any{"authorization": "[REDACTED]"}}},
		"service": map[string]any{"pipelines": map[string]any{
			"logs/ä": map[string]any{"receivers": []any{"otlp"}, "exporters": []any{"otlp", "nop"}},
		}},
	}
	ec, err := EffectiveConfig(conf, nil)
	require.NoError(t, err)

	require.Len(t, ec.GetConfigMap().GetConfigMap(), 1)
	object := ec.GetConfigMap().GetConfigMap()[""]
	require.Equal(t, "text/yaml", object.GetContentType())
	var back map[string]any
	require.NoError(t, yaml.Unmarshal(object.GetBody(), &back))
	require.Equal(t, conf, back)
	requireGolden(t, "effectiveconfig", ec)
}

func TestEffectiveConfigOfNothing(t *testing.T) {
	ec, err := EffectiveConfig(nil, nil)
	require.NoError(t, err)
	require.Nil(t, ec)

	ec, err = EffectiveConfig(map[string]any{}, nil)
	require.NoError(t, err)
	require.Equal(t, "{}\n", string(ec.GetConfigMap().GetConfigMap()[""].GetBody()))
}

func TestRawConfigHasAKeyOfItsOwn(t *testing.T) {
	ec, err := EffectiveConfig(map[string]any{"a": 1}, map[string]any{"a": "${env:A}"})
	require.NoError(t, err)
	objects := ec.GetConfigMap().GetConfigMap()
	require.Len(t, objects, 2)
	require.Equal(t, "a: 1\n", string(objects[""].GetBody()))
	require.Equal(t, "a: ${env:A}\n", string(objects["raw"].GetBody()))
	require.Equal(t, "text/yaml", objects["raw"].GetContentType())
}
