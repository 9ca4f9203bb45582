// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"fmt"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/confmap"
	"go.yaml.in/yaml/v3"
)

const (
	// effectiveConfigKey is empty because a Collector runs one configuration. A
	// supervisor looks for exactly this key.
	effectiveConfigKey         = ""
	effectiveConfigContentType = "text/yaml"
)

// EffectiveConfig is the configuration that a Collector runs, as YAML. A nil conf
// gives nil. The secrets in it are masked as far as the Collector's own
// configopaque types mask them.
func EffectiveConfig(conf *confmap.Conf) (*protobufs.EffectiveConfig, error) {
	if conf == nil {
		return nil, nil
	}
	body, err := yaml.Marshal(conf.ToStringMap())
	if err != nil {
		return nil, fmt.Errorf("effective configuration as YAML: %w", err)
	}
	return &protobufs.EffectiveConfig{
		ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{
				effectiveConfigKey: {Body: body, ContentType: effectiveConfigContentType},
			},
		},
	}, nil
}
