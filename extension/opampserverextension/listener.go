// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

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
	return errors.Join(l.validateAddress(), l.validateTLS(), l.validateAuth(), l.validateBodies(), l.validateTimeouts())
}

// validateTLS reads the certificates, so that one that is missing is missed before the
// start, and by the user's key.
func (l listener) validateTLS() error {
	if !l.config.TLS.HasValue() {
		return nil
	}
	settings := *l.config.TLS.Get()
	settings.ReloadClientCAFile = false // which would leave a watcher behind
	err := errors.Join(settings.Validate(), settings.Config.Validate())
	if err == nil {
		_, err = settings.LoadTLSConfig(context.Background())
	}
	if err != nil {
		return fmt.Errorf("%s.tls: %w", l.key, err)
	}
	return nil
}

// validateTimeouts refuses what net/http would take for no timeout at all.
func (l listener) validateTimeouts() error {
	var errs []error
	for _, t := range []struct {
		key   string
		value time.Duration
	}{
		{"read_timeout", l.config.ReadTimeout},
		{"read_header_timeout", l.config.ReadHeaderTimeout},
		{"write_timeout", l.config.WriteTimeout},
		{"idle_timeout", l.config.IdleTimeout},
	} {
		errs = append(errs, atLeast(l.key+"."+t.key, t.value, 0))
	}
	return errors.Join(errs...)
}

// validateBodies refuses keys that mean nothing here: one that did nothing would be
// believed to do something.
func (l listener) validateBodies() error {
	var errs []error
	if l.config.MaxRequestBodySize != 0 {
		errs = append(errs, fmt.Errorf("%s.max_request_body_size: cannot be set, limits.max_message_size bounds agents, and what is sent to the web has a bound of its own", l.key))
	}
	if l.config.CompressionAlgorithms != nil {
		errs = append(errs, fmt.Errorf("%s.compression_algorithms: cannot be set, agents may use gzip and what is sent to the web is small", l.key))
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

// notTheSame refuses two listeners on one address, in whichever words. Port 0 is
// another one each time.
func notTheSame(a, b listener) error {
	one, other := a.config.NetAddr.Endpoint, b.config.NetAddr.Endpoint
	if a.socket() != b.socket() || a.validateAddress() != nil || b.validateAddress() != nil {
		return nil
	}
	if same := one == other; a.socket() && !same || !a.socket() && !overlap(one, other) {
		return nil
	}
	if one == other {
		return fmt.Errorf("%s.endpoint and %s.endpoint: both are %s", a.key, b.key, one)
	}
	return fmt.Errorf("%s.endpoint and %s.endpoint: %s and %s are one address", a.key, b.key, one, other)
}

// overlap says whether who listens on one of these keeps another from the other.
func overlap(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	if numberA, _ := strconv.Atoi(portA); numberA == 0 || portA != portB {
		return false
	}
	if strings.EqualFold(hostA, hostB) {
		return true
	}
	for _, x := range addressesOf(hostA) {
		for _, y := range addressesOf(hostB) {
			if x == y || x.IsUnspecified() && x.Is4() == y.Is4() || y.IsUnspecified() && x.Is4() == y.Is4() {
				return true
			}
		}
	}
	return false
}

// addressesOf are those that a host stands for without asking a resolver.
func addressesOf(host string) []netip.Addr {
	switch {
	case host == "" || host == "::": // Go listens for both kinds then
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	case strings.EqualFold(host, "localhost"):
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}
	}
	return nil
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
