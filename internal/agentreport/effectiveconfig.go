// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"fmt"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.yaml.in/yaml/v3"
)

const (
	// effectiveConfigKey is empty because a Collector runs one configuration. A
	// supervisor looks for exactly this key.
	effectiveConfigKey = ""
	// rawConfigKey is contrib's name for the configuration as it was written.
	rawConfigKey               = "raw"
	effectiveConfigContentType = "text/yaml"
)

// EffectiveConfig is the configuration that a Collector runs, as YAML, and under a key
// of its own the one before providers were expanded, unless raw is nil. Without
// effective there is nothing to report, nil. Both are as confmap's ToStringMap gives
// them, and their secrets are the caller's to mask.
func EffectiveConfig(effective, raw map[string]any) (*protobufs.EffectiveConfig, error) {
	if effective == nil {
		return nil, nil
	}
	objects := make(map[string]*protobufs.AgentConfigObject, 2)
	for key, tree := range map[string]map[string]any{effectiveConfigKey: effective, rawConfigKey: raw} {
		if tree == nil {
			continue
		}
		body, err := yaml.Marshal(tree)
		if err != nil {
			return nil, fmt.Errorf("effective configuration as YAML: %w", err)
		}
		objects[key] = &protobufs.AgentConfigObject{Body: body, ContentType: effectiveConfigContentType}
	}
	return &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{ConfigMap: objects}}, nil
}
