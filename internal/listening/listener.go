// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

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

// Listener is a listener of a configuration.
type Listener struct {
	Key    string // the user's
	Config *confighttp.ServerConfig
}

// Validate reports everything that is wrong, by the user's keys.
func (l Listener) Validate() error {
	return errors.Join(l.validateAddress(), l.ValidateTLS(), l.validateAuth(), l.validateBodies(), l.validateTimeouts())
}

// ValidateTLS reads the certificates, so that one that is missing is missed before the
// start, and by the user's key.
func (l Listener) ValidateTLS() error {
	if !l.Config.TLS.HasValue() {
		return nil
	}
	settings := *l.Config.TLS.Get()
	settings.ReloadClientCAFile = false // which would leave a watcher behind
	err := errors.Join(settings.Validate(), settings.Config.Validate())
	if err == nil {
		_, err = settings.LoadTLSConfig(context.Background())
	}
	if err != nil {
		return fmt.Errorf("%s.tls: %w", l.Key, err)
	}
	return nil
}

// leastTimeout keeps a number without a unit, which is in nanoseconds, from cutting everybody off.
const leastTimeout = time.Millisecond

// validateTimeouts refuses what net/http would take for no timeout at all, and what nobody could
// be faster than.
func (l Listener) validateTimeouts() error {
	var errs []error
	for _, t := range []struct {
		key   string
		value time.Duration
	}{
		{"read_timeout", l.Config.ReadTimeout},
		{"read_header_timeout", l.Config.ReadHeaderTimeout},
		{"write_timeout", l.Config.WriteTimeout},
		{"idle_timeout", l.Config.IdleTimeout},
	} {
		switch {
		case t.value < 0:
			errs = append(errs, fmt.Errorf("%s.%s: must be at least 0s, is %s", l.Key, t.key, t.value))
		case t.value > 0 && t.value < leastTimeout:
			errs = append(errs, fmt.Errorf("%s.%s: must be 0s, which is none, or at least %s, is %s; is the unit missing?",
				l.Key, t.key, leastTimeout, t.value))
		}
	}
	return errors.Join(errs...)
}

// validateBodies refuses keys that mean nothing here: one that did nothing would be
// believed to do something.
func (l Listener) validateBodies() error {
	var errs []error
	if l.Config.MaxRequestBodySize != 0 {
		errs = append(errs, fmt.Errorf("%s.max_request_body_size: cannot be set, limits.max_message_size bounds what agents send", l.Key))
	}
	if l.Config.CompressionAlgorithms != nil {
		errs = append(errs, fmt.Errorf("%s.compression_algorithms: cannot be set, agents may use gzip", l.Key))
	}
	return errors.Join(errs...)
}

func (l Listener) validateAddress() error {
	addr := l.Config.NetAddr
	switch addr.Transport {
	case confignet.TransportTypeTCP, confignet.TransportTypeTCP4, confignet.TransportTypeTCP6:
	case confignet.TransportTypeUnix, confignet.TransportTypeNpipe:
		if addr.Endpoint == "" {
			return fmt.Errorf("%s.endpoint: must be set", l.Key)
		}
		return nil
	default:
		return fmt.Errorf("%s.transport: %q is not tcp, tcp4, tcp6, unix or npipe", l.Key, addr.Transport)
	}
	if addr.Endpoint == "" {
		return fmt.Errorf("%s.endpoint: must be set", l.Key)
	}
	_, port, err := net.SplitHostPort(addr.Endpoint)
	if err != nil {
		return fmt.Errorf("%s.endpoint: %q is not host:port, without a scheme", l.Key, addr.Endpoint)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s.endpoint: port %q is not a number from 0 to 65535", l.Key, port)
	}
	return nil
}

func (l Listener) validateAuth() error {
	if l.Config.Auth.HasValue() && l.Config.Auth.Get().AuthenticatorID == (component.ID{}) {
		return fmt.Errorf("%s.auth.authenticator: must be set", l.Key)
	}
	return nil
}

// NotTheSame refuses two listeners on one address, in whichever words. Port 0 is
// another one each time.
func NotTheSame(a, b Listener) error {
	one, other := a.Config.NetAddr.Endpoint, b.Config.NetAddr.Endpoint
	if a.Socket() != b.Socket() || a.validateAddress() != nil || b.validateAddress() != nil {
		return nil
	}
	if same := one == other; a.Socket() && !same || !a.Socket() && !overlap(one, other) {
		return nil
	}
	if one == other {
		return fmt.Errorf("%s.endpoint and %s.endpoint: both are %s", a.Key, b.Key, one)
	}
	return fmt.Errorf("%s.endpoint and %s.endpoint: %s and %s are one address", a.Key, b.Key, one, other)
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

// Reaches says whether who connects to host and port gets to l itself, as far as that is known
// without asking a resolver.
func (l Listener) Reaches(host, port string) bool {
	if l.Socket() || l.validateAddress() != nil {
		return false
	}
	own, _, _ := net.SplitHostPort(l.Config.NetAddr.Endpoint)
	if !strings.EqualFold(own, host) && !Loopback(host) {
		return false // an address of another host, for all that is known
	}
	return overlap(l.Config.NetAddr.Endpoint, net.JoinHostPort(host, port))
}

// Socket says whether the listener is a file or a pipe of this host.
func (l Listener) Socket() bool {
	transport := l.Config.NetAddr.Transport
	return transport == confignet.TransportTypeUnix || transport == confignet.TransportTypeNpipe
}

// BeyondThisHost says whether others may reach the listener. A name counts as others
// unless it is localhost: where it leads is the resolver's choice.
func (l Listener) BeyondThisHost() bool {
	return !l.Socket() && !Loopback(l.Config.NetAddr.Endpoint)
}

// Loopback says whether host, with or without a port, is this host by a name that
// cannot be made to mean another.
func Loopback(host string) bool {
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

// ValidateSecurity holds the rule that what others can reach is encrypted and knows
// who speaks, unless the user says that it need not. Known says that who speaks is found
// out by other means than the listener's own.
func (l Listener) ValidateSecurity(insecure, known bool) error {
	if insecure || l.validateAddress() != nil || !l.BeyondThisHost() {
		return nil
	}
	var missing []string
	if !l.Config.TLS.HasValue() {
		missing = append(missing, l.Key+".tls")
	}
	if !known && !l.authenticates() {
		missing = append(missing, fmt.Sprintf("%s.auth (or %s.tls.client_ca_file)", l.Key, l.Key))
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("%s.endpoint: %s can be reached from other hosts, without %s; set that, listen on 127.0.0.1, or say insecure: true",
		l.Key, l.Config.NetAddr.Endpoint, strings.Join(missing, " and "))
}

// authenticates says whether the listener knows who speaks.
func (l Listener) authenticates() bool {
	return l.mutual() || l.Config.Auth.HasValue()
}

// mutual says whether clients need a certificate.
func (l Listener) mutual() bool {
	return l.Config.TLS.HasValue() && l.Config.TLS.Get().ClientCAFile != ""
}

// Open says whether everybody who reaches the listener may speak, and only programs
// of this host reach it: a web browser, too, is such a program.
func (l Listener) Open() bool {
	return !l.Socket() && !l.BeyondThisHost() && !l.authenticates()
}

// Dependencies are the extensions that the listener needs to be started before it.
func (l Listener) Dependencies() []component.ID {
	var ids []component.ID
	if l.Config.Auth.HasValue() {
		ids = append(ids, l.Config.Auth.Get().AuthenticatorID)
	}
	for _, m := range l.Config.Middlewares {
		ids = append(ids, m.ID)
	}
	return ids
}
