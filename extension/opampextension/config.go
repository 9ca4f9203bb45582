// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"errors"
	"fmt"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

const defaultPPIDPollInterval = 5 * time.Second

// Errors of the configuration that programs around the Collector may look for.
var (
	errNoTransport     = errors.New("opamp server must have at least ws or http set")
	errTwoTransports   = errors.New("opamp server must have only ws or http set")
	errNoEndpoint      = errors.New("opamp server endpoint must be provided")
	errPollingInterval = errors.New("polling interval must be 0 or greater")
	errBadInstanceUID  = errors.New("opamp instance_uid is invalid")
)

// Config is what the user writes under the extension's id.
type Config struct {
	// Server says where the OpAMP Server is, over exactly one transport.
	Server ServerConfig `mapstructure:"server"`
	// InstanceUID names this agent to the server: a UUID in any spelling, or a ULID.
	// Without it the process makes a UUIDv7 once and keeps it until it ends.
	InstanceUID string `mapstructure:"instance_uid"`
	// Capabilities says what is reported.
	Capabilities CapabilitiesConfig `mapstructure:"capabilities"`
	// AgentDescription adds to what the Collector says of itself.
	AgentDescription AgentDescriptionConfig `mapstructure:"agent_description"`
	// PPID is the process that started this one, a supervisor: when it is gone, the
	// Collector ends. 0 is nobody.
	PPID int32 `mapstructure:"ppid"`
	// PPIDPollInterval is how often PPID is looked for.
	PPIDPollInterval time.Duration `mapstructure:"ppid_poll_interval"`

	_ struct{}
}

// ServerConfig holds one transport.
type ServerConfig struct {
	WS   configoptional.Optional[WSConfig]   `mapstructure:"ws,omitempty"`
	HTTP configoptional.Optional[HTTPConfig] `mapstructure:"http,omitempty"`

	_ struct{}
}

// EndpointConfig is what both transports need.
type EndpointConfig struct {
	// Endpoint is the server's URL, for example wss://opamp.example.com:4320/v1/opamp.
	Endpoint string `mapstructure:"endpoint"`
	// TLS applies to the schemes wss and https.
	TLS configtls.ClientConfig `mapstructure:"tls,omitempty"`
	// Headers go with each request, handshakes included.
	Headers map[string]configopaque.String `mapstructure:"headers,omitempty"`
	// Auth is an extension that authenticates each request.
	Auth component.ID `mapstructure:"auth,omitempty"`

	_ struct{}
}

// WSConfig is the WebSocket transport.
type WSConfig struct {
	EndpointConfig `mapstructure:",squash"`

	_ struct{}
}

// HTTPConfig is the plain HTTP transport.
type HTTPConfig struct {
	EndpointConfig `mapstructure:",squash"`

	// PollingInterval is the longest time between two requests.
	PollingInterval time.Duration `mapstructure:"polling_interval"`

	_ struct{}
}

// CapabilitiesConfig says what is reported. Nothing can be accepted.
type CapabilitiesConfig struct {
	ReportsEffectiveConfig     bool `mapstructure:"reports_effective_config"`
	ReportsHealth              bool `mapstructure:"reports_health"`
	ReportsAvailableComponents bool `mapstructure:"reports_available_components"`
	ReportsHeartbeat           bool `mapstructure:"reports_heartbeat"`
	// AcceptsRestartCommand exists so that a true is refused with a reason.
	AcceptsRestartCommand bool `mapstructure:"accepts_restart_command"`

	_ struct{}
}

// AgentDescriptionConfig adds to the non-identifying attributes.
type AgentDescriptionConfig struct {
	// NonIdentifyingAttributes win over all others of the same name.
	NonIdentifyingAttributes map[string]string `mapstructure:"non_identifying_attributes"`
	// IncludeResourceAttributes adds the attributes of the Collector's own telemetry.
	IncludeResourceAttributes bool `mapstructure:"include_resource_attributes"`

	_ struct{}
}

func createDefaultConfig() component.Config {
	return &Config{
		Capabilities: CapabilitiesConfig{
			ReportsEffectiveConfig:     true,
			ReportsHealth:              true,
			ReportsAvailableComponents: true,
			ReportsHeartbeat:           true,
		},
		PPIDPollInterval: defaultPPIDPollInterval,
	}
}

// Unmarshal has a default of its own, which tells an explicit interval of 0 from one
// left out. It is not configoptional.Default because that would turn a null, which
// the effective configuration shows for a transport that is not there, into one.
func (c *HTTPConfig) Unmarshal(conf *confmap.Conf) error {
	c.PollingInterval = opampclient.DefaultPollingInterval
	return conf.Unmarshal(c)
}

// Validate reports everything that is wrong at this level, at once. The Collector
// validates the levels below by themselves and puts each one's path in front.
func (c *Config) Validate() error {
	var errs []error
	if c.InstanceUID != "" {
		if _, err := opampwire.ParseInstanceUID(c.InstanceUID); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", errBadInstanceUID, err))
		}
	}
	if c.PPID < 0 {
		errs = append(errs, fmt.Errorf("ppid: %d is no process; leave it out if nobody supervises this collector", c.PPID))
	}
	if c.PPIDPollInterval <= 0 {
		errs = append(errs, fmt.Errorf("ppid_poll_interval: %v must be greater than 0; leave it out for %v",
			c.PPIDPollInterval, defaultPPIDPollInterval))
	}
	return errors.Join(errs...)
}

// Validate holds that there is one transport.
func (c *ServerConfig) Validate() error {
	switch {
	case !c.WS.HasValue() && !c.HTTP.HasValue():
		return errNoTransport
	case c.WS.HasValue() && c.HTTP.HasValue():
		return errTwoTransports
	}
	return nil
}

// Validate reports everything that is wrong with the WebSocket transport.
func (c *WSConfig) Validate() error { return c.validate("ws", "wss") }

// Validate reports everything that is wrong with the plain HTTP transport.
func (c *HTTPConfig) Validate() error {
	errs := []error{c.validate("http", "https")}
	switch {
	case c.PollingInterval < 0:
		errs = append(errs, fmt.Errorf("polling_interval: %w", errPollingInterval))
	case c.PollingInterval == 0:
		errs = append(errs, fmt.Errorf("polling_interval: must be greater than 0; leave it out for %v",
			opampclient.DefaultPollingInterval))
	}
	return errors.Join(errs...)
}

// Validate refuses what this extension will never do.
func (c *CapabilitiesConfig) Validate() error {
	if c.AcceptsRestartCommand {
		return errors.New("accepts_restart_command: must be false or left out: nothing that an OpAMP server says " +
			"can restart this collector; run it under a supervisor for that")
	}
	return nil
}

// Validate holds that each attribute has a name.
func (c *AgentDescriptionConfig) Validate() error {
	if _, ok := c.NonIdentifyingAttributes[""]; ok {
		return errors.New("non_identifying_attributes: an attribute has no name")
	}
	return nil
}

// endpoint is the one that is configured, nil where there is none.
func (c *ServerConfig) endpoint() *EndpointConfig {
	if ws := c.WS.Get(); ws != nil {
		return &ws.EndpointConfig
	}
	if http := c.HTTP.Get(); http != nil {
		return &http.EndpointConfig
	}
	return nil
}

// pollingInterval is that of plain HTTP, 0 over WebSocket.
func (c *ServerConfig) pollingInterval() time.Duration {
	if http := c.HTTP.Get(); http != nil {
		return http.PollingInterval
	}
	return 0
}

// bits are the capabilities on the wire. Every agent reports status.
func (c *CapabilitiesConfig) bits() protobufs.AgentCapabilities {
	bits := protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus
	for _, capability := range [...]struct {
		on  bool
		bit protobufs.AgentCapabilities
	}{
		{c.ReportsEffectiveConfig, protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig},
		{c.ReportsHealth, protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth},
		{c.ReportsAvailableComponents, protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents},
		{c.ReportsHeartbeat, protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat},
	} {
		if capability.on {
			bits |= capability.bit
		}
	}
	return bits
}
