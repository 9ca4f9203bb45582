// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"runtime"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"golang.org/x/net/http/httpguts"
)

// httpClient is the Collector's own for this endpoint: TLS with reload, proxy,
// headers, and an authenticator that sees, and may sign, each request.
func (c *EndpointConfig) httpClient(
	ctx context.Context, u *url.URL, host component.Host, set component.TelemetrySettings,
) (*http.Client, error) {
	cc := confighttp.NewDefaultClientConfig()
	cc.Endpoint = c.Endpoint
	// An upgrade to WebSocket is a matter of HTTP/1.1.
	cc.ForceAttemptHTTP2 = u.Scheme != "ws" && u.Scheme != "wss"
	if u.Scheme == "wss" || u.Scheme == "https" {
		cc.TLS = c.TLS
		// The scheme has decided that there is TLS. With it, insecure would only keep
		// confighttp from making a TLS config of its own, and so let HTTP/2 in.
		cc.TLS.Insecure = false
	} else {
		cc.TLS = configtls.ClientConfig{Insecure: true}
	}
	for name, value := range c.Headers {
		cc.Headers = append(cc.Headers, configopaque.Pair{Name: name, Value: value})
	}
	if c.Auth != (component.ID{}) {
		if err := checkAuthenticator(host, c.Auth); err != nil {
			return nil, err
		}
		cc.Auth = configoptional.Some(configauth.Config{AuthenticatorID: c.Auth})
	}
	return cc.ToClient(ctx, host.GetExtensions(), set)
}

func checkAuthenticator(host component.Host, id component.ID) error {
	ext, ok := host.GetExtensions()[id]
	if !ok {
		return fmt.Errorf("could not find auth extension %q", id)
	}
	if _, ok := ext.(extensionauth.HTTPClient); !ok {
		return fmt.Errorf("auth extension %q is not an extensionauth.HTTPClient", id)
	}
	return nil
}

// userAgent names the distribution. A user's own header of the name replaces it.
func userAgent(build component.BuildInfo) http.Header {
	agent := fmt.Sprintf("%s/%s (%s/%s)", build.Command, build.Version, runtime.GOOS, runtime.GOARCH)
	if build.Command == "" || build.Version == "" || !httpguts.ValidHeaderFieldValue(agent) {
		agent = fmt.Sprintf("otelcol (%s/%s)", runtime.GOOS, runtime.GOARCH)
	}
	return http.Header{"User-Agent": []string{agent}}
}
