// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
)

// Config is what the user writes under the extension's id.
type Config struct {
	// Agents is where OpAMP agents report to.
	Agents AgentsConfig `mapstructure:"agents"`
	// Web is where people look: the page, and the API under /api/v1/.
	Web confighttp.ServerConfig `mapstructure:"web"`
	// Insecure permits a listener beyond loopback without TLS and an authenticator.
	Insecure bool `mapstructure:"insecure"`
	// Limits bound what the server takes on.
	Limits LimitsConfig `mapstructure:"limits"`
	// SilentAfter is how long an agent may say nothing before it counts as silent.
	SilentAfter time.Duration `mapstructure:"silent_after"`

	_ struct{}
}

// AgentsConfig is a listener for agents.
type AgentsConfig struct {
	confighttp.ServerConfig `mapstructure:",squash"`

	// Path is where OpAMP is spoken, over WebSocket and plain HTTP alike.
	Path string `mapstructure:"path"`

	_ struct{}
}

// LimitsConfig bounds what the server takes on. All are greater than 0.
type LimitsConfig struct {
	// MaxMessageSize is the size of one message after decompression, in bytes.
	MaxMessageSize int64 `mapstructure:"max_message_size"`
	// MaxAgents is how many agents are remembered, present and gone.
	MaxAgents int `mapstructure:"max_agents"`
	// MaxAgentsPerConnection is how many agents may share a WebSocket, behind a gateway.
	MaxAgentsPerConnection int `mapstructure:"max_agents_per_connection"`
	// MaxConnections is how many WebSockets may be open.
	MaxConnections int `mapstructure:"max_connections"`

	_ struct{}
}

var _ component.Config = (*Config)(nil)

// Validate reports everything that is wrong, by the user's keys.
func (c *Config) Validate() error {
	agents, web := c.agentsListener(), c.webListener()
	return errors.Join(
		agents.validate(),
		c.Agents.validate(),
		web.validate(),
		notTheSame(agents, web),
		c.validateSecurity(agents),
		c.validateSecurity(web),
		c.Limits.validate(),
		greaterThanZero("silent_after", c.SilentAfter),
	)
}

func (c *Config) agentsListener() listener {
	return listener{key: "agents", config: &c.Agents.ServerConfig}
}

func (c *Config) webListener() listener { return listener{key: "web", config: &c.Web} }

func (a *AgentsConfig) validate() error {
	var errs []error
	if !strings.HasPrefix(a.Path, "/") || path.Clean(a.Path) != a.Path || strings.ContainsAny(a.Path, "?# ") {
		errs = append(errs, fmt.Errorf("agents.path: %q is not a path like /v1/opamp", a.Path))
	}
	if a.CORS.HasValue() {
		errs = append(errs, errors.New("agents.cors: cannot be set, web pages of other origins do not report here; web.cors opens the API to them"))
	}
	return errors.Join(errs...)
}

func (l *LimitsConfig) validate() error {
	return errors.Join(
		greaterThanZero("limits.max_message_size", l.MaxMessageSize),
		greaterThanZero("limits.max_agents", l.MaxAgents),
		greaterThanZero("limits.max_agents_per_connection", l.MaxAgentsPerConnection),
		greaterThanZero("limits.max_connections", l.MaxConnections),
	)
}

func greaterThanZero[T int | int64 | time.Duration](key string, value T) error {
	if value > 0 {
		return nil
	}
	return fmt.Errorf("%s: must be greater than 0, is %v", key, value)
}

// validateSecurity holds the rule that what others can reach is encrypted and knows
// who speaks, unless the user says that it need not.
func (c *Config) validateSecurity(l listener) error {
	if c.Insecure || !l.beyondThisHost() {
		return nil
	}
	var missing []string
	if !l.config.TLS.HasValue() {
		missing = append(missing, l.key+".tls")
	}
	if !l.authenticates() {
		missing = append(missing, fmt.Sprintf("%s.auth (or %s.tls.client_ca_file)", l.key, l.key))
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("%s.endpoint: %s can be reached from other hosts, without %s; set that, listen on 127.0.0.1, or say insecure: true",
		l.key, l.config.NetAddr.Endpoint, strings.Join(missing, " and "))
}
