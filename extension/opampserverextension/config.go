// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"

	"github.com/otel-fleetview/fleetview/internal/listening"
	"github.com/otel-fleetview/fleetview/internal/redact"
)

// Config is what the user writes under the extension's id.
type Config struct {
	// Agents is where OpAMP agents report to.
	Agents AgentsConfig `mapstructure:"agents"`
	// Web is where people look: the page, and the API under /api/v1/.
	Web confighttp.ServerConfig `mapstructure:"web"`
	// Roles says who of those whom Web lets in may do what.
	Roles listening.Roles `mapstructure:"roles"`
	// Insecure permits a listener beyond loopback without TLS and an authenticator.
	Insecure bool `mapstructure:"insecure"`
	// Limits bound what the server takes on.
	Limits LimitsConfig `mapstructure:"limits"`
	// SilentAfter is how long an agent may say nothing before it counts as silent.
	SilentAfter time.Duration `mapstructure:"silent_after"`
	// RetireAfter is how long an agent that is gone is remembered; 0 is until its place is needed.
	RetireAfter time.Duration `mapstructure:"retire_after"`
	// Database is where the fleet survives a restart. Without a path it is in memory alone.
	Database DatabaseConfig `mapstructure:"database"`
	// Identity says when an agent with another instance UID is the same one.
	Identity IdentityConfig `mapstructure:"identity"`
	// Redaction changes what counts as a secret in what agents tell.
	Redaction RedactionConfig `mapstructure:"redaction"`

	_ struct{}
}

// DatabaseConfig is a file in which the fleet and its history are kept.
type DatabaseConfig struct {
	// Path of the file. Its directory must be there. Empty keeps nothing.
	Path string `mapstructure:"path"`
	// Retention is how long it is kept what happened.
	Retention time.Duration `mapstructure:"retention"`
	// MaxSize bounds the file, in bytes. When it is reached, the oldest of what happened makes room. 0 is no bound.
	MaxSize int64 `mapstructure:"max_size"`

	_ struct{}
}

// IdentityConfig is by which attributes an agent is recognized when it comes back as another instance.
type IdentityConfig struct {
	// Attributes are lists of attributes. The first of which an agent tells all counts.
	Attributes [][]string `mapstructure:"attributes"`

	_ struct{}
}

// RedactionConfig changes which values count as secrets. There are built-in rules; what they mask in what an agent
// tells is neither kept nor shown nor logged.
type RedactionConfig struct {
	// Keys are more names of keys that hold secrets, with the wildcards * and ?.
	Keys []string `mapstructure:"keys"`
	// ExceptKeys are names that hold none.
	ExceptKeys []string `mapstructure:"except_keys"`
	// Allow are paths of the configuration whose values are shown, for example
	// exporters::otlp*::headers::x-tenant.
	Allow []string `mapstructure:"allow"`
	// Deny are paths below which everything is masked; they win.
	Deny []string `mapstructure:"deny"`

	_ struct{}
}

// AgentsConfig is a listener for agents.
type AgentsConfig struct {
	confighttp.ServerConfig `mapstructure:",squash"`

	// Path is where OpAMP is spoken, over WebSocket and plain HTTP alike.
	Path string `mapstructure:"path"`

	_ struct{}
}

// Upper bounds of limits, far above what makes sense and far below what overflows.
const (
	mostMessageSize = 1 << 30
	mostMemory      = 1 << 40
	mostAgents      = 10_000_000
	mostConnections = 1_000_000
)

// Lower bounds: a number below is one that was meant in another unit.
const (
	leastMessageSize = 1 << 10
	leastMemory      = 1 << 20
)

// leastSilentAfter is the shortest time in which an agent that is there can be missed, and
// leastRetireAfter in which one that is gone can be forgotten: the server looks once in tickEvery.
const (
	leastSilentAfter = tickEvery
	leastRetireAfter = tickEvery
)

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
	// MaxMemory is how much is kept of all agents together, in bytes as the server counts them.
	MaxMemory int64 `mapstructure:"max_memory"`

	_ struct{}
}

var _ component.Config = (*Config)(nil)

// Validate reports everything that is wrong, by the user's keys.
func (c *Config) Validate() error {
	agents, web := c.agentsListener(), c.webListener()
	return errors.Join(
		agents.Validate(),
		c.Agents.validate(),
		web.Validate(),
		listening.NotTheSame(agents, web),
		agents.ValidateSecurity(c.Insecure, false),
		web.ValidateSecurity(c.Insecure, false),
		web.ValidateRoles("roles", c.Roles),
		c.Limits.validate(),
		atLeast("silent_after", c.SilentAfter, leastSilentAfter),
		c.validateRetirement(),
		c.Database.validate(),
		c.Identity.validate(),
		c.Redaction.validate(),
	)
}

// validateRetirement refuses what would forget who has just lost a connection.
func (c *Config) validateRetirement() error {
	if c.RetireAfter == 0 || c.RetireAfter >= leastRetireAfter {
		return nil
	}
	return fmt.Errorf("retire_after: must be 0s, which is until its place is needed, or at least %s, is %s", leastRetireAfter, c.RetireAfter)
}

// Bounds of database and identity.
const (
	leastRetention     = time.Hour
	leastDatabase      = 1 << 20
	mostIdentities     = 32
	mostIdentityLength = 16
)

func (d *DatabaseConfig) validate() error {
	errs := []error{atLeast("database.retention", d.Retention, leastRetention)}
	if d.MaxSize != 0 && d.MaxSize < leastDatabase {
		errs = append(errs, fmt.Errorf("database.max_size: must be 0 or at least %d, is %d", leastDatabase, d.MaxSize))
	}
	if d.Path == ":memory:" { // means that to the engine, once for each of its connections
		errs = append(errs, errors.New("database.path: is no file; without it the fleet is kept in memory"))
	}
	return errors.Join(errs...)
}

func (i *IdentityConfig) validate() error {
	if len(i.Attributes) > mostIdentities {
		return fmt.Errorf("identity.attributes: at most %d lists are possible, there are %d", mostIdentities, len(i.Attributes))
	}
	var errs []error
	for n, list := range i.Attributes {
		before := slices.IndexFunc(i.Attributes[:n], func(other []string) bool { return slices.Equal(list, other) })
		switch {
		case len(list) == 0 || len(list) > mostIdentityLength || slices.Contains(list, ""):
			errs = append(errs, fmt.Errorf("identity.attributes[%d]: must be a list of 1 to %d names of attributes", n, mostIdentityLength))
		case before >= 0:
			errs = append(errs, fmt.Errorf("identity.attributes[%d]: is identity.attributes[%d] once more", n, before))
		}
		for at, name := range list {
			if slices.Contains(list[:at], name) {
				errs = append(errs, fmt.Errorf("identity.attributes[%d]: names %q twice", n, name))
			}
		}
	}
	return errors.Join(errs...)
}

func (r *RedactionConfig) validate() error {
	if _, err := r.rules(); err != nil {
		return fmt.Errorf("redaction: %w", err)
	}
	return nil
}

func (r *RedactionConfig) rules() (*redact.Rules, error) {
	return redact.New(redact.Options{Keys: r.Keys, ExceptKeys: r.ExceptKeys, Allow: r.Allow, Deny: r.Deny})
}

func (c *Config) agentsListener() listening.Listener {
	return listening.Listener{Key: "agents", Config: &c.Agents.ServerConfig}
}

func (c *Config) webListener() listening.Listener {
	return listening.Listener{Key: "web", Config: &c.Web}
}

func (a *AgentsConfig) validate() error {
	errs := []error{listening.ValidatePath("agents.path", a.Path)}
	if a.CORS.HasValue() {
		errs = append(errs, errors.New("agents.cors: cannot be set, web pages of other origins do not report here; web.cors opens the API to them"))
	}
	return errors.Join(errs...)
}

func (l *LimitsConfig) validate() error {
	return errors.Join(
		between("limits.max_message_size", l.MaxMessageSize, leastMessageSize, mostMessageSize),
		between("limits.max_agents", l.MaxAgents, 1, mostAgents),
		between("limits.max_agents_per_connection", l.MaxAgentsPerConnection, 1, mostAgents),
		between("limits.max_connections", l.MaxConnections, 1, mostConnections),
		between("limits.max_memory", l.MaxMemory, leastMemory, mostMemory),
	)
}

func between[T int | int64](key string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("%s: must be from %d to %d, is %d", key, least, most, value)
	}
	return nil
}

func atLeast(key string, value, least time.Duration) error {
	if value >= least {
		return nil
	}
	return fmt.Errorf("%s: must be at least %s, is %s", key, least, value)
}
