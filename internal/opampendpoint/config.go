// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampendpoint

import (
	"errors"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"
)

// ErrNoEndpoint says that there is no endpoint.
var ErrNoEndpoint = errors.New("opamp server endpoint must be provided")

// Config is what the user writes of one server, whatever the transport.
type Config struct {
	// Endpoint is the server's URL, for example wss://opamp.example.com:4320/v1/opamp.
	Endpoint string `mapstructure:"endpoint"`
	// TLS applies to the schemes wss and https.
	TLS configtls.ClientConfig `mapstructure:"tls,omitempty"`
	// Headers go with each request, handshakes included.
	Headers map[string]configopaque.String `mapstructure:"headers,omitempty"`
	// Auth is an extension that authenticates each request.
	Auth component.ID `mapstructure:"auth,omitempty"`
	// ProxyURL is a proxy to go through, with the user and password it asks for. Without
	// it the environment decides.
	ProxyURL configopaque.String `mapstructure:"proxy_url,omitempty"`
	// UnixSocket is the path of a socket to connect to in place of the endpoint's host.
	UnixSocket string `mapstructure:"unix_socket,omitempty"`
	// MaxRetryAfter is the longest that a server may ask this agent to stay away.
	MaxRetryAfter time.Duration `mapstructure:"max_retry_after"`

	_ struct{}
}
