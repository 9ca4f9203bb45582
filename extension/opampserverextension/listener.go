// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/confignet"
)

// listener is one of the two listeners of the configuration.
type listener struct {
	key    string // the user's
	config *confighttp.ServerConfig
}

func (l listener) validate() error {
	return errors.Join(l.validateAddress(), l.validateAuth(), l.validateBodies())
}

// validateBodies refuses keys that mean nothing here: one that did nothing would be
// believed to do something.
func (l listener) validateBodies() error {
	var errs []error
	if l.config.MaxRequestBodySize != 0 {
		errs = append(errs, fmt.Errorf("%s.max_request_body_size: cannot be set, limits.max_message_size bounds agents and the web reads no bodies", l.key))
	}
	if l.config.CompressionAlgorithms != nil {
		errs = append(errs, fmt.Errorf("%s.compression_algorithms: cannot be set, agents may use gzip and the web reads no bodies", l.key))
	}
	return errors.Join(errs...)
}

func (l listener) validateAddress() error {
	addr := l.config.NetAddr
	switch addr.Transport {
	case confignet.TransportTypeTCP, confignet.TransportTypeTCP4, confignet.TransportTypeTCP6:
	case confignet.TransportTypeUnix, confignet.TransportTypeNpipe:
		if addr.Endpoint == "" {
			return fmt.Errorf("%s.endpoint: must be set", l.key)
		}
		return nil
	default:
		return fmt.Errorf("%s.transport: %q is not tcp, tcp4, tcp6, unix or npipe", l.key, addr.Transport)
	}
	if addr.Endpoint == "" {
		return fmt.Errorf("%s.endpoint: must be set", l.key)
	}
	_, port, err := net.SplitHostPort(addr.Endpoint)
	if err != nil {
		return fmt.Errorf("%s.endpoint: %q is not host:port, without a scheme", l.key, addr.Endpoint)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s.endpoint: port %q is not a number from 0 to 65535", l.key, port)
	}
	return nil
}

func (l listener) validateAuth() error {
	if l.config.Auth.HasValue() && l.config.Auth.Get().AuthenticatorID == (component.ID{}) {
		return fmt.Errorf("%s.auth.authenticator: must be set", l.key)
	}
	return nil
}

// notTheSame refuses two listeners on one address. Port 0 is another one each time.
func notTheSame(a, b listener) error {
	if a.config.NetAddr.Endpoint != b.config.NetAddr.Endpoint || a.socket() != b.socket() ||
		strings.HasSuffix(a.config.NetAddr.Endpoint, ":0") {
		return nil
	}
	return fmt.Errorf("%s.endpoint and %s.endpoint: both are %s", a.key, b.key, a.config.NetAddr.Endpoint)
}

// socket says whether the listener is a file or a pipe of this host.
func (l listener) socket() bool {
	transport := l.config.NetAddr.Transport
	return transport == confignet.TransportTypeUnix || transport == confignet.TransportTypeNpipe
}

// beyondThisHost says whether others may reach the listener. A name counts as others
// unless it is localhost: where it leads is the resolver's choice.
func (l listener) beyondThisHost() bool {
	return !l.socket() && !loopback(l.config.NetAddr.Endpoint)
}

// loopback says whether host, with or without a port, is this host by a name that
// cannot be made to mean another.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// authenticates says whether the listener knows who speaks.
func (l listener) authenticates() bool {
	mutual := l.config.TLS.HasValue() && l.config.TLS.Get().ClientCAFile != ""
	return mutual || l.config.Auth.HasValue()
}

// open says whether everybody who reaches the listener may speak, and only programs
// of this host reach it: a web browser, too, is such a program.
func (l listener) open() bool {
	return !l.socket() && !l.beyondThisHost() && !l.authenticates()
}

// dependencies are the extensions that the listener needs to be started before it.
func (l listener) dependencies() []component.ID {
	var ids []component.ID
	if l.config.Auth.HasValue() {
		ids = append(ids, l.config.Auth.Get().AuthenticatorID)
	}
	for _, m := range l.config.Middlewares {
		ids = append(ids, m.ID)
	}
	return ids
}
