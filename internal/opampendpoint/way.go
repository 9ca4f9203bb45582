// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampendpoint

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
)

// maxSocketPath is the longest path that a Unix socket can have everywhere, in bytes
// (sockaddr_un of the BSDs and macOS; Linux has four more).
const maxSocketPath = 103

// validateWay reports what is wrong with how the endpoint is to be reached.
func (c *Config) validateWay() error {
	var errs []error
	if c.ProxyURL != "" {
		if _, err := parseProxy(string(c.ProxyURL)); err != nil {
			errs = append(errs, err)
		}
	}
	switch path := c.UnixSocket; {
	case path == "":
	case c.ProxyURL != "":
		errs = append(errs, errors.New("unix_socket: cannot be together with proxy_url: a socket is on this host"))
	case !filepath.IsAbs(path):
		errs = append(errs, fmt.Errorf("unix_socket: %q is not an absolute path", path))
	case len(path) > maxSocketPath:
		errs = append(errs, fmt.Errorf("unix_socket: the path has %d bytes, a socket's can have %d", len(path), maxSocketPath))
	}
	return errors.Join(errs...)
}

// parseProxy reads a proxy's address. No error repeats it: it may hold a password.
func parseProxy(address string) (*url.URL, error) {
	const example = "for example http://proxy.example.com:3128"
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("proxy_url: not a valid URL, %s", example)
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, fmt.Errorf("proxy_url: the scheme has to be http, https, socks5 or socks5h, %s", example)
	}
	switch {
	case u.Hostname() == "":
		return nil, fmt.Errorf("proxy_url: names no host, %s", example)
	case (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("proxy_url: a proxy has no path, %s", example)
	}
	if err := validatePort(u); err != nil {
		return nil, fmt.Errorf("proxy_url: %w", err)
	}
	return u, nil
}
