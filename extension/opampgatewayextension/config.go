// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampgatewayextension

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/confmap"
	"golang.org/x/net/http/httpguts"

	"github.com/otel-fleetview/fleetview/internal/gateway"
	"github.com/otel-fleetview/fleetview/internal/listening"
	"github.com/otel-fleetview/fleetview/internal/opampdial"
	"github.com/otel-fleetview/fleetview/internal/opampendpoint"
)

// Config is what the user writes under the extension's id.
type Config struct {
	// Listener is where agents connect to.
	Listener ListenerConfig `mapstructure:"listener"`
	// Insecure permits a listener beyond loopback without TLS and an authenticator.
	Insecure bool `mapstructure:"insecure"`
	// Upstream is the server that agents are carried to.
	Upstream UpstreamConfig `mapstructure:"upstream"`
	// Limits bound what the gateway takes on.
	Limits LimitsConfig `mapstructure:"limits"`
	// Timeouts say how long it waits for what.
	Timeouts TimeoutsConfig `mapstructure:"timeouts"`
	// Identity says what becomes of two connections for one instance UID.
	Identity IdentityConfig `mapstructure:"identity"`
	// AgentAuth lets the server decide which agents are let in.
	AgentAuth AgentAuthConfig `mapstructure:"agent_auth"`
	// ConnectionSettings says what becomes of a server's offer of another server.
	ConnectionSettings ConnectionSettingsConfig `mapstructure:"connection_settings"`
	// Report says how the gateway itself is shown to the server.
	Report ReportConfig `mapstructure:"report"`

	_ struct{}
}

// ListenerConfig is a listener for agents.
type ListenerConfig struct {
	confighttp.ServerConfig `mapstructure:",squash"`

	// Path is where OpAMP is spoken, over WebSocket and plain HTTP alike.
	Path string `mapstructure:"path"`

	_ struct{}
}

// UpstreamConfig is the way to the server.
type UpstreamConfig struct {
	opampendpoint.Config `mapstructure:",squash"`

	// Failover are further endpoints of the same server, tried in order when the one in use
	// cannot be reached. All take the other keys of upstream.
	Failover []string `mapstructure:"failover"`
	// ForwardHeaders names headers of an agent's own handshake or request that go to the
	// server, where the agent has a connection or a request of its own.
	ForwardHeaders []string `mapstructure:"forward_headers"`
	// Connections says how agents share connections.
	Connections ConnectionsConfig `mapstructure:"connections"`
	// AnnouncePerSecond is how many agents are told to the server in a second after a loss.
	AnnouncePerSecond int `mapstructure:"announce_per_second"`

	_ struct{}
}

// ConnectionsConfig says how agents share connections to the server.
type ConnectionsConfig struct {
	// Mode is shared or per_agent.
	Mode gateway.Multiplexing `mapstructure:"mode"`
	// Min is how many agents are shared out among at first, Max how many there may be. Each
	// is made when an agent needs it. Over plain HTTP Max is how many requests there are at
	// a time.
	Min int `mapstructure:"min"`
	Max int `mapstructure:"max"`
	// GrowAfter is how long the server may take to answer before there is one more.
	GrowAfter time.Duration `mapstructure:"grow_after"`

	_ struct{}
}

// LimitsConfig bounds what the gateway takes on. All are greater than 0.
type LimitsConfig struct {
	// MaxMessageSize is the size of one message in either direction, after decompression, in
	// bytes. It should not be more than the server's.
	MaxMessageSize int64 `mapstructure:"max_message_size"`
	// MaxAgents is how many agents may be there.
	MaxAgents int `mapstructure:"max_agents"`
	// MaxAgentsPerConnection is how many may share one connection to the gateway, as those of
	// another gateway do.
	MaxAgentsPerConnection int `mapstructure:"max_agents_per_connection"`
	// MaxConnections is how many WebSockets of agents may be open.
	MaxConnections int `mapstructure:"max_connections"`
	// MaxQueuedMessages and MaxQueuedBytes bound what waits for one agent.
	MaxQueuedMessages int   `mapstructure:"max_queued_messages"`
	MaxQueuedBytes    int64 `mapstructure:"max_queued_bytes"`
	// MaxUpstreamQueuedBytes bounds what waits for one connection to the server.
	MaxUpstreamQueuedBytes int `mapstructure:"max_upstream_queued_bytes"`

	_ struct{}
}

// TimeoutsConfig says how long the gateway waits for what. All are greater than 0.
type TimeoutsConfig struct {
	// Handshake is for connecting to the server, and for its answer over plain HTTP.
	Handshake time.Duration `mapstructure:"handshake"`
	// Write is for one write, to an agent or to the server.
	Write time.Duration `mapstructure:"write"`
	// FirstMessage is for the first message of a new connection.
	FirstMessage time.Duration `mapstructure:"first_message"`
	// Ping is the silence after which an agent is pinged; a second one ends its connection.
	Ping time.Duration `mapstructure:"ping"`
	// UpstreamPing is the same for the server.
	UpstreamPing time.Duration `mapstructure:"upstream_ping"`
	// UpstreamIdle is how long a connection to the server is kept that carries no agent.
	UpstreamIdle time.Duration `mapstructure:"upstream_idle"`
	// Grace is how long an agent whose connection ended may take to come back before the server
	// is told that it has gone.
	Grace time.Duration `mapstructure:"grace"`
	// HTTPAnswer is how long an agent over plain HTTP waits for the server's answer.
	HTTPAnswer time.Duration `mapstructure:"http_answer"`
	// HTTPSilence is how long an agent over plain HTTP may say nothing before it has gone.
	HTTPSilence time.Duration `mapstructure:"http_silence"`
	// Drain is how long it takes to send all agents away when the gateway stops.
	Drain time.Duration `mapstructure:"drain"`

	_ struct{}
}

// IdentityConfig says what becomes of two connections for one instance UID.
type IdentityConfig struct {
	// Duplicates is replace, refuse or reidentify.
	Duplicates gateway.Duplicates `mapstructure:"duplicates"`
	// Silence is how long the first must show no sign of life for the second to replace it.
	Silence time.Duration `mapstructure:"silence"`

	_ struct{}
}

// AgentAuthConfig lets the server decide which agents are let in.
type AgentAuthConfig struct {
	// Mode is none, upstream or connect.
	Mode gateway.AuthMode `mapstructure:"mode"`
	// Headers of an agent's handshake that the server is asked with.
	Headers []string `mapstructure:"headers"`
	// AcceptedTTL is how long a yes holds, RejectedTTL how long a no does.
	AcceptedTTL time.Duration `mapstructure:"accepted_ttl"`
	RejectedTTL time.Duration `mapstructure:"rejected_ttl"`

	_ struct{}
}

// ConnectionSettingsConfig says what becomes of a server's offer of another server.
type ConnectionSettingsConfig struct {
	// Policy is strip, forward or rewrite.
	Policy gateway.Offers `mapstructure:"policy"`
	// Endpoint is where agents reach this gateway, for rewrite.
	Endpoint string `mapstructure:"endpoint"`

	_ struct{}
}

// ReportConfig says how the gateway itself is shown to the server: by custom messages of
// the agent that this Collector is.
type ReportConfig struct {
	// Extension is the opamp extension that sends them. Without it there are none.
	Extension *component.ID `mapstructure:"extension"`
	// Interval is the shortest time between two.
	Interval time.Duration `mapstructure:"interval"`

	_ struct{}
}

var _ component.Config = (*Config)(nil)

// Unmarshal knows what a transport's own default is before it reads.
func (c *UpstreamConfig) Unmarshal(conf *confmap.Conf) error {
	if strings.HasPrefix(fmt.Sprint(conf.Get("endpoint")), "http") {
		c.Connections.Max = defaultRequests
	}
	return conf.Unmarshal(c)
}

// Upper bounds, far above what makes sense and far below what overflows.
const (
	mostMessageSize = 1 << 30
	mostAgents      = 10_000_000
	mostConnections = 1_000_000
	mostUpstreams   = 256
	mostDuration    = 24 * time.Hour
	leastInterval   = time.Second
)

// Validate reports everything that is wrong, by the user's keys.
func (c *Config) Validate() error {
	l := c.listener()
	return errors.Join(
		l.Validate(),
		listening.ValidatePath("listener.path", c.Listener.Path),
		c.validateCORS(),
		l.ValidateSecurity(c.Insecure, c.AgentAuth.Mode != gateway.AuthNone),
		prefixed("upstream", c.Upstream.validate()),
		c.validateDirection(),
		c.Limits.validate(),
		c.Timeouts.validate(),
		c.Identity.validate(),
		c.AgentAuth.validate(&c.Upstream),
		c.ConnectionSettings.validate(),
		between("report.interval", c.Report.Interval, leastInterval),
	)
}

func (c *Config) listener() listening.Listener {
	return listening.Listener{Key: "listener", Config: &c.Listener.ServerConfig}
}

func (c *Config) validateCORS() error {
	if c.Listener.CORS.HasValue() {
		return errors.New("listener.cors: cannot be set, web pages of other origins do not report here")
	}
	return nil
}

// validateDirection refuses an upstream that is the gateway itself: what it carries would go round.
func (c *Config) validateDirection() error {
	if c.Upstream.UnixSocket != "" || c.Upstream.ProxyURL != "" {
		return nil // what localhost is to a proxy is another matter
	}
	plain, secure := c.Upstream.schemes()
	var errs []error
	for i, endpoint := range c.Upstream.endpoints() {
		u, err := opampendpoint.Parse(endpoint, plain, secure)
		if err == nil && c.listener().Reaches(u.Hostname(), opampendpoint.Port(u)) {
			errs = append(errs, fmt.Errorf("upstream.%s: is listener.endpoint, %s, where this gateway itself listens; it has to be the OpAMP server's",
				endpointKey(i), c.Listener.NetAddr.Endpoint))
		}
	}
	return errors.Join(errs...)
}

// prefixed puts a key in front of each of joined errors.
func prefixed(key string, err error) error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // errors.Join's own, at the top
	if !ok {
		return fmt.Errorf("%s.%w", key, err)
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		errs = append(errs, prefixed(key, e))
	}
	return errors.Join(errs...)
}

func (c *UpstreamConfig) validate() error {
	plain, secure := c.schemes()
	errs := []error{c.ValidateFor(plain, secure)}
	errs = append(errs, c.validateFailover(plain, secure), c.validateForwarded())
	if c.UnixSocket != "" && len(c.Failover) > 0 {
		errs = append(errs, errors.New("failover: cannot be together with unix_socket, to which every endpoint leads"))
	}
	errs = append(errs,
		c.Connections.validate(c.overHTTP()),
		within("announce_per_second", c.AnnouncePerSecond, 1, 1_000_000))
	return errors.Join(errs...)
}

// endpoints are all of them, in the order in which they are tried.
func (c *UpstreamConfig) endpoints() []string { return append([]string{c.Endpoint}, c.Failover...) }

// endpointKey is the key of the i-th of them.
func endpointKey(i int) string {
	if i == 0 {
		return "endpoint"
	}
	return fmt.Sprintf("failover[%d]", i-1)
}

// validateFailover refuses what is no endpoint, and one that is tried already.
func (c *UpstreamConfig) validateFailover(plain, secure string) error {
	var errs []error
	var seen []*url.URL
	for i, endpoint := range c.endpoints() {
		u, err := opampendpoint.Parse(endpoint, plain, secure)
		at := slices.IndexFunc(seen, func(other *url.URL) bool { return u != nil && other != nil && opampendpoint.Same(u, other) })
		seen = append(seen, u)
		switch {
		case err != nil && i > 0: // the first is validated with the rest of it
			errs = append(errs, fmt.Errorf("%s: %w", endpointKey(i), err))
		case at >= 0:
			errs = append(errs, fmt.Errorf("%s: is %s once more; name another one of the server's", endpointKey(i), endpointKey(at)))
		}
	}
	return errors.Join(errs...)
}

func (c *UpstreamConfig) validateForwarded() error {
	var errs []error
	for _, name := range c.ForwardHeaders {
		errs = append(errs, validateHeaderName("forward_headers", name))
		if c.Auth != (component.ID{}) && strings.EqualFold(name, "Authorization") {
			errs = append(errs, fmt.Errorf("forward_headers: %s is what auth sets, so that the gateway's own would take the place of the agents'", name))
		}
		for set := range c.Headers {
			if strings.EqualFold(name, set) {
				errs = append(errs, fmt.Errorf("forward_headers: %s is in headers too, whose value would take the place of the agents'", name))
			}
		}
	}
	if len(c.ForwardHeaders) > 0 && !c.overHTTP() && c.Connections.Mode == gateway.MultiplexShared {
		errs = append(errs, errors.New("forward_headers: an agent has no handshake with the server of its own; that is so with connections::mode: per_agent, and over plain HTTP"))
	}
	return errors.Join(errs...)
}

// overHTTP says whether the server is spoken to over plain HTTP.
func (c *UpstreamConfig) overHTTP() bool {
	return strings.HasPrefix(c.Endpoint, "http://") || strings.HasPrefix(c.Endpoint, "https://")
}

func (c *UpstreamConfig) schemes() (plain, secure string) {
	if c.overHTTP() {
		return "http", "https"
	}
	return "ws", "wss"
}

func (c *ConnectionsConfig) validate(overHTTP bool) error {
	errs := []error{
		within("connections.min", c.Min, 1, mostUpstreams),
		within("connections.max", c.Max, 1, mostUpstreams),
		between("connections.grow_after", c.GrowAfter, time.Millisecond),
	}
	if c.Min > c.Max {
		errs = append(errs, fmt.Errorf("connections.max: %d is less than connections.min, %d", c.Max, c.Min))
	}
	switch c.Mode {
	case gateway.MultiplexShared:
	case gateway.MultiplexPerAgent:
		if overHTTP {
			errs = append(errs, errors.New("connections.mode: per_agent is for WebSockets; over plain HTTP each message is a request of its own"))
		}
	default:
		errs = append(errs, fmt.Errorf("connections.mode: %q is not %s or %s", c.Mode, gateway.MultiplexShared, gateway.MultiplexPerAgent))
	}
	return errors.Join(errs...)
}

func (c *LimitsConfig) validate() error {
	errs := []error{
		within("limits.max_message_size", c.MaxMessageSize, 1<<10, mostMessageSize),
		within("limits.max_agents", c.MaxAgents, 1, mostAgents),
		within("limits.max_agents_per_connection", c.MaxAgentsPerConnection, 1, mostAgents),
		within("limits.max_connections", c.MaxConnections, 1, mostConnections),
		within("limits.max_queued_messages", c.MaxQueuedMessages, 1, 1_000_000),
		within("limits.max_queued_bytes", c.MaxQueuedBytes, 1<<10, mostMessageSize),
		within("limits.max_upstream_queued_bytes", c.MaxUpstreamQueuedBytes, 64<<10, mostMessageSize),
	}
	return errors.Join(errs...)
}

func (c *TimeoutsConfig) validate() error {
	var errs []error
	for _, t := range []struct {
		key   string
		value time.Duration
	}{
		{"handshake", c.Handshake},
		{"write", c.Write},
		{"first_message", c.FirstMessage},
		{"ping", c.Ping},
		{"upstream_ping", c.UpstreamPing},
		{"upstream_idle", c.UpstreamIdle},
		{"grace", c.Grace},
		{"http_answer", c.HTTPAnswer},
		{"http_silence", c.HTTPSilence},
		{"drain", c.Drain},
	} {
		errs = append(errs, between("timeouts."+t.key, t.value, time.Millisecond))
	}
	return errors.Join(errs...)
}

func (c *IdentityConfig) validate() error {
	policies := []gateway.Duplicates{gateway.DuplicatesReplace, gateway.DuplicatesRefuse, gateway.DuplicatesReidentify}
	var err error
	if !slices.Contains(policies, c.Duplicates) {
		err = fmt.Errorf("identity.duplicates: %q is not one of %v", c.Duplicates, policies)
	}
	return errors.Join(err, between("identity.silence", c.Silence, time.Millisecond))
}

func (c *AgentAuthConfig) validate(up *UpstreamConfig) error {
	errs := []error{
		between("agent_auth.accepted_ttl", c.AcceptedTTL, time.Millisecond),
		between("agent_auth.rejected_ttl", c.RejectedTTL, time.Millisecond),
	}
	for _, name := range c.Headers {
		errs = append(errs, validateHeaderName("agent_auth.headers", name))
	}
	switch c.Mode {
	case gateway.AuthNone:
	case gateway.AuthUpstream, gateway.AuthConnect:
		switch {
		case len(c.Headers) == 0:
			errs = append(errs, errors.New("agent_auth.headers: names no header, so the server would decide on nothing"))
		case up.overHTTP():
			errs = append(errs, fmt.Errorf("agent_auth.mode: %s needs a WebSocket to the server; over plain HTTP let upstream::forward_headers name the credentials", c.Mode))
		case c.Mode == gateway.AuthConnect && up.Connections.Mode == gateway.MultiplexPerAgent:
			errs = append(errs, errors.New("agent_auth.mode: connect needs connections that agents share, not upstream::connections::mode: per_agent"))
		}
	default:
		errs = append(errs, fmt.Errorf("agent_auth.mode: %q is not %s, %s or %s", c.Mode, gateway.AuthNone, gateway.AuthUpstream, gateway.AuthConnect))
	}
	return errors.Join(errs...)
}

func (c *ConnectionSettingsConfig) validate() error {
	switch c.Policy {
	case gateway.OffersStrip, gateway.OffersForward:
		if c.Endpoint != "" {
			return fmt.Errorf("connection_settings.endpoint: has no use with policy: %s, only with rewrite", c.Policy)
		}
		return nil
	case gateway.OffersRewrite:
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"ws", "wss", "http", "https"}, u.Scheme) || u.User != nil {
			return errors.New("connection_settings.endpoint: must be where agents reach this gateway, for example wss://gateway.example.com:4320/v1/opamp")
		}
		return nil
	default:
		return fmt.Errorf("connection_settings.policy: %q is not %s, %s or %s", c.Policy, gateway.OffersStrip, gateway.OffersForward, gateway.OffersRewrite)
	}
}

func validateHeaderName(key, name string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%s: %q is not a header name", key, name)
	}
	if opampendpoint.ReservedHeader(name) || strings.EqualFold(name, "host") {
		return fmt.Errorf("%s: %s is the transport's own", key, name)
	}
	return nil
}

func within[T int | int64](key string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("%s: must be from %d to %d, is %d", key, least, most, value)
	}
	return nil
}

func between(key string, value, least time.Duration) error {
	if value < least || value > mostDuration {
		return fmt.Errorf("%s: must be from %s to %s, is %s", key, least, mostDuration, value)
	}
	return nil
}

// defaultRetryAfter is the longest that a server may keep the gateway away.
const defaultRetryAfter = opampdial.DefaultMaxRetryAfter
