// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampendpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http/httpproxy"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
)

// Client is the Collector's own for this endpoint, headers and authenticator
// included, on a network of ours: it goes through a proxy or to a socket, and follows
// TLS files that change. The authenticator sees, and may sign, each request as it is
// sent.
func (c *Config) Client(
	ctx context.Context, u *url.URL, host component.Host, set component.TelemetrySettings,
) (*http.Client, error) {
	cc := confighttp.NewDefaultClientConfig()
	cc.Endpoint = c.Endpoint
	cc.TLS = configtls.ClientConfig{Insecure: true} // none of confighttp's: it would not be read again
	network, err := c.networkSettings(u, set)
	if err != nil {
		return nil, err
	}
	below := &networkMiddleware{set: network}
	used := map[component.ID]component.Component{networkID: below}
	cc.Middlewares = []configmiddleware.Config{{ID: networkID}}
	for name, value := range c.Headers {
		// confighttp knows Host by this spelling alone.
		cc.Headers = append(cc.Headers, configopaque.Pair{Name: http.CanonicalHeaderKey(name), Value: value})
	}
	if c.Auth != (component.ID{}) {
		if used[c.Auth], err = guardedAuthenticator(host, c.Auth); err != nil {
			return nil, err
		}
		cc.Auth = configoptional.Some(configauth.Config{AuthenticatorID: c.Auth})
	}
	client, err := cc.ToClient(ctx, used, set)
	if err != nil {
		return nil, err
	}
	client.Transport = closable{client.Transport, below.network}
	return client, nil
}

// networkSettings are the way to u.
func (c *Config) networkSettings(u *url.URL, set component.TelemetrySettings) (opampdial.Settings, error) {
	network := opampdial.Settings{Endpoint: u, UnixSocket: c.UnixSocket, Logger: set.Logger}
	if c.UnixSocket == "" {
		proxy, err := c.proxy(u)
		if err != nil {
			return network, err
		}
		network.Proxy = proxy
	}
	if network.Secure() || (network.Proxy != nil && network.Proxy.Scheme == "https") {
		network.TLS = c.loadTLS
		network.TLSFiles = c.tlsFiles()
	}
	return network, nil
}

// proxy is the one to go through: that of the configuration, else that of the
// environment. No error repeats the address, which may hold a password.
func (c *Config) proxy(u *url.URL) (*url.URL, error) {
	if c.ProxyURL != "" {
		return parseProxy(string(c.ProxyURL))
	}
	target := *u
	switch u.Scheme {
	case "ws":
		target.Scheme = "http"
	case "wss":
		target.Scheme = "https"
	}
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(&target)
	if err != nil {
		return nil, errors.New("the proxy that the environment names (HTTP_PROXY, HTTPS_PROXY) cannot be used")
	}
	return proxy, nil
}

// loadTLS reads the TLS configuration. That there is TLS is decided by the time it is
// called. The interval is left to the network, which looks at the files more often.
func (c *Config) loadTLS() (*tls.Config, error) {
	cfg := c.TLS
	cfg.Insecure = false
	cfg.ReloadInterval = 0
	return cfg.LoadTLSConfig(context.Background())
}

// tlsFiles are the files that loadTLS reads.
func (c *Config) tlsFiles() []string {
	var files []string
	for _, name := range []string{c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile} {
		if name != "" {
			files = append(files, name)
		}
	}
	return files
}

// networkID is known to confighttp only, in the extensions that it is given.
var networkID = component.MustNewID("opamp_network")

// networkMiddleware puts the network where confighttp puts middleware: right above its
// own transport, which then only lends its limits, and below the authenticator.
type networkMiddleware struct {
	component.StartFunc
	component.ShutdownFunc
	set     opampdial.Settings
	network *opampdial.Network // made by confighttp's call
}

// GetHTTPRoundTripper implements extensionmiddleware.HTTPClient.
func (m *networkMiddleware) GetHTTPRoundTripper(context.Context) (
	func(context.Context, http.RoundTripper) (http.RoundTripper, error), error,
) {
	return func(_ context.Context, base http.RoundTripper) (http.RoundTripper, error) {
		transport, ok := base.(*http.Transport)
		if !ok {
			return nil, fmt.Errorf("confighttp has a transport of type %T", base)
		}
		var err error
		m.network, err = opampdial.New(m.set, transport)
		return m.network, err
	}, nil
}

// closable reaches the network past the layers above it, which do not pass the call on.
type closable struct {
	http.RoundTripper
	network *opampdial.Network
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (c closable) CloseIdleConnections() { c.network.CloseIdleConnections() }

// guardedAuthenticator is the extension id, with a guard around what it does.
func guardedAuthenticator(host component.Host, id component.ID) (component.Component, error) {
	ext, ok := host.GetExtensions()[id]
	if !ok {
		return nil, fmt.Errorf("could not find auth extension %q", id)
	}
	auth, ok := ext.(extensionauth.HTTPClient)
	if !ok {
		return nil, fmt.Errorf("auth extension %q is not an extensionauth.HTTPClient", id)
	}
	return guarded{name: id.String(), auth: auth}, nil
}

// guarded is an authenticator as confighttp gets to see it.
type guarded struct {
	component.StartFunc
	component.ShutdownFunc
	name string
	auth extensionauth.HTTPClient
}

// RoundTripper implements extensionauth.HTTPClient.
func (g guarded) RoundTripper(base http.RoundTripper) (http.RoundTripper, error) {
	return opampdial.Guard(g.name, g.auth.RoundTripper, base)
}

// UserAgent names the distribution. A user's own header of the name replaces it.
func UserAgent(build component.BuildInfo) http.Header {
	agent := fmt.Sprintf("%s/%s (%s/%s)", build.Command, build.Version, runtime.GOOS, runtime.GOARCH)
	if build.Command == "" || build.Version == "" || !httpguts.ValidHeaderFieldValue(agent) {
		agent = fmt.Sprintf("otelcol (%s/%s)", runtime.GOOS, runtime.GOARCH)
	}
	return http.Header{"User-Agent": []string{agent}}
}
