// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opampendpoint"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/redact"
)

const (
	defaultPPIDPollInterval = 5 * time.Second
	// leastInterval keeps a number without a unit, which is in nanoseconds, from taking
	// a processor.
	leastInterval = time.Millisecond
)

// Values of server::http::compression.
const (
	compressionGzip = "gzip"
	compressionNone = "none"
)

// Errors of the configuration that programs around the Collector may look for.
var (
	errNoTransport     = errors.New("opamp server must have at least ws or http set")
	errTwoTransports   = errors.New("opamp server must have only ws or http set")
	errPollingInterval = errors.New("polling interval must be 0 or greater")
	errBadInstanceUID  = errors.New("opamp instance_uid is invalid")

	errRawWithoutEffective = errors.New("reports_raw_config requires reports_effective_config to be enabled")
)

// Config is what the user writes under the extension's id.
type Config struct {
	// Server says where the OpAMP Server is, over exactly one transport.
	Server ServerConfig `mapstructure:"server"`
	// InstanceUID names this agent to the server: a UUID in any spelling, or a ULID.
	// Without it the process makes a UUIDv7 once and keeps it until it ends, or longer
	// with one of the next two.
	InstanceUID string `mapstructure:"instance_uid"`
	// Storage is a storage extension that keeps the instance UID over restarts, and custom
	// messages that the server has not got.
	Storage *component.ID `mapstructure:"storage"`
	// InstanceUIDFile is a file that does.
	InstanceUIDFile string `mapstructure:"instance_uid_file"`
	// Capabilities says what is reported.
	Capabilities CapabilitiesConfig `mapstructure:"capabilities"`
	// ReportsRawConfig adds the configuration as it was written, before providers were
	// expanded.
	ReportsRawConfig bool `mapstructure:"reports_raw_config"`
	// Redaction says what must not be reported.
	Redaction RedactionConfig `mapstructure:"redaction"`
	// AgentDescription adds to what the Collector says of itself.
	AgentDescription AgentDescriptionConfig `mapstructure:"agent_description"`
	// CustomMessages bounds what components send to the server.
	CustomMessages CustomMessagesConfig `mapstructure:"custom_messages"`
	// PPID is the process that started this one, a supervisor: when it is gone, the
	// Collector ends. 0 is nobody.
	PPID int64 `mapstructure:"ppid"`
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
type EndpointConfig = opampendpoint.Config

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
	// Compression of messages that gain by it: gzip, or none.
	Compression string `mapstructure:"compression"`

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

// AgentDescriptionConfig adds to what the Collector says of itself.
type AgentDescriptionConfig struct {
	// IdentifyingAttributes are told beside service.instance.id, service.name and
	// service.version.
	IdentifyingAttributes map[string]string `mapstructure:"identifying_attributes"`
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
		Redaction:        RedactionConfig{ProviderValues: string(redact.MaskProviderValues)},
		CustomMessages:   defaultCustomMessages(),
		PPIDPollInterval: defaultPPIDPollInterval,
	}
}

// Unmarshal has defaults of its own, which tell an explicit 0 from a key left out. They
// are not configoptional.Default because that would turn a null, which the effective
// configuration shows for a transport that is not there, into one.
func (c *WSConfig) Unmarshal(conf *confmap.Conf) error {
	c.MaxRetryAfter = opampclient.DefaultMaxRetryAfter
	return conf.Unmarshal(c)
}

// Unmarshal has defaults of its own, for the same reason.
func (c *HTTPConfig) Unmarshal(conf *confmap.Conf) error {
	c.MaxRetryAfter = opampclient.DefaultMaxRetryAfter
	c.PollingInterval = opampclient.DefaultPollingInterval
	c.Compression = compressionGzip
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
	errs = append(errs, c.validateState())
	if c.ReportsRawConfig && !c.Capabilities.ReportsEffectiveConfig {
		errs = append(errs, errRawWithoutEffective)
	}
	if c.PPID < 0 || c.PPID > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("ppid: %d is no process; leave it out if nobody supervises this collector", c.PPID))
	}
	switch {
	case c.PPIDPollInterval <= 0:
		errs = append(errs, fmt.Errorf("ppid_poll_interval: %v must be greater than 0; leave it out for %v",
			c.PPIDPollInterval, defaultPPIDPollInterval))
	case c.PPIDPollInterval < leastInterval:
		errs = append(errs, fmt.Errorf("ppid_poll_interval: %v is too short, at least %v; is the unit missing?",
			c.PPIDPollInterval, leastInterval))
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
func (c *WSConfig) Validate() error { return c.ValidateFor("ws", "wss") }

// Validate reports everything that is wrong with the plain HTTP transport.
func (c *HTTPConfig) Validate() error {
	errs := []error{c.ValidateFor("http", "https")}
	switch {
	case c.PollingInterval < 0:
		errs = append(errs, fmt.Errorf("polling_interval: %w", errPollingInterval))
	case c.PollingInterval == 0:
		errs = append(errs, fmt.Errorf("polling_interval: must be greater than 0; leave it out for %v",
			opampclient.DefaultPollingInterval))
	case c.PollingInterval < leastInterval:
		errs = append(errs, fmt.Errorf("polling_interval: %v is too short, at least %v; is the unit missing?",
			c.PollingInterval, leastInterval))
	}
	if c.Compression != compressionGzip && c.Compression != compressionNone {
		errs = append(errs, fmt.Errorf("compression: %q is neither %s nor %s", c.Compression, compressionGzip, compressionNone))
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

// Validate holds that each attribute has a name and is told once.
func (c *AgentDescriptionConfig) Validate() error {
	var errs []error
	if _, ok := c.NonIdentifyingAttributes[""]; ok {
		errs = append(errs, errors.New("non_identifying_attributes: an attribute has no name"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.IdentifyingAttributes)) {
		_, twice := c.NonIdentifyingAttributes[name]
		switch {
		case name == "":
			errs = append(errs, errors.New("identifying_attributes: an attribute has no name"))
		case name == "service.instance.id" || name == "service.name" || name == "service.version":
			errs = append(errs, fmt.Errorf("identifying_attributes: %s: is that of the Collector's own telemetry; "+
				"set it in service::telemetry::resource", name))
		case twice:
			errs = append(errs, fmt.Errorf("identifying_attributes: %s: is in non_identifying_attributes too", name))
		}
	}
	return errors.Join(errs...)
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

// uncompressed reports whether messages are to be sent as they are.
func (c *ServerConfig) uncompressed() bool {
	http := c.HTTP.Get()
	return http != nil && http.Compression == compressionNone
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
