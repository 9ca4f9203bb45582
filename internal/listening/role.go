// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package listening

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/client"
)

// Role is what somebody may do. Whoever may more may less.
type Role string

// The roles there are.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
)

// RoleError says which role was missing. What attributes somebody has it does not say.
type RoleError struct{ Role Role }

func (e *RoleError) Error() string {
	return fmt.Sprintf("this needs the role %s, which roles.%s of the server's configuration gives", e.Role, e.Role)
}

// Grant gives a role to whoever has one of the values as the attribute, to the letter.
type Grant struct {
	// Attribute is one of those that the authenticator tells of somebody, such as username or membership, or
	// [CertificateSubject].
	Attribute string `mapstructure:"attribute"`
	// Values are those that get the role.
	Values []string `mapstructure:"values"`

	_ struct{}
}

// Roles says who has which. A role without a list is given by what the listener is; an empty list gives it to nobody.
type Roles struct {
	// Viewer is who may look. Without a list everybody whom the listener lets in is.
	Viewer []Grant `mapstructure:"viewer"`
	// Operator is who may send, too. Without a list everybody is on a listener that knows nobody and that only this
	// host reaches, and nobody on any other.
	Operator []Grant `mapstructure:"operator"`

	_ struct{}
}

// certificates are attributes that no authenticator tells: what begins so is read from the client's certificate alone,
// so that nobody is taken for its owner because of a claim of that name.
const certificates = "tls.client."

// CertificateSubject is the attribute, named as OpenTelemetry names it, that holds the distinguished name of a client's
// certificate in the form of RFC 2253.
const CertificateSubject = certificates + "subject"

// credentials is what authenticators call the secret itself, in what they tell of somebody.
const credentials = "raw"

// ValidateRoles reports everything that is wrong with the roles of l, by the user's keys. Key is theirs.
func (l Listener) ValidateRoles(key string, roles Roles) error {
	errs := append(l.validateGrants(key+".viewer", roles.Viewer), l.validateGrants(key+".operator", roles.Operator)...)
	if roles.Viewer != nil && len(roles.Viewer)+len(roles.Operator) == 0 {
		errs = append(errs, fmt.Errorf("%s.viewer: nobody could see anything; leave it out, and everybody whom %s lets in may", key, l.Key))
	}
	return errors.Join(errs...)
}

func (l Listener) validateGrants(key string, grants []Grant) (errs []error) {
	for i, g := range grants {
		at := fmt.Sprintf("%s[%d]", key, i)
		if err := l.validateAttribute(g.Attribute); err != nil {
			errs = append(errs, fmt.Errorf("%s.attribute: %w", at, err))
		}
		if len(g.Values) == 0 || slices.Contains(g.Values, "") {
			errs = append(errs, fmt.Errorf("%s.values: must be a list of values, none of them empty", at))
		}
	}
	return errs
}

func (l Listener) validateAttribute(name string) error {
	switch {
	case name == "":
		return errors.New("must be set")
	case name == credentials:
		return fmt.Errorf("%s is the credentials themselves, which do not belong into a configuration; use one like username or subject", name)
	case name == CertificateSubject:
		if !l.mutual() {
			return fmt.Errorf("there are no certificates of clients without %s.tls.client_ca_file", l.Key)
		}
	case strings.HasPrefix(name, certificates):
		return fmt.Errorf("%q is not known, of a certificate there is %s", name, CertificateSubject)
	case !l.Config.Auth.HasValue():
		return fmt.Errorf("nobody has a %q without %s.auth", name, l.Key)
	}
	return nil
}

// Access says who may do what on a listener. It is safe for concurrent use.
type Access struct {
	// Fixed at construction.
	roles Roles
	own   bool // nobody is known, and only this host gets here
}

// Access is who may do what on l.
func (l Listener) Access(roles Roles) *Access {
	return &Access{roles: roles, own: !l.authenticates() && !l.BeyondThisHost()}
}

// Check returns a [RoleError] if whoever makes the request does not have the role. The request has passed the listener.
func (a *Access) Check(role Role, r *http.Request) error {
	if a.has(role, r) {
		return nil
	}
	return &RoleError{Role: role}
}

func (a *Access) has(role Role, r *http.Request) bool {
	if role == Operator {
		return a.operates(r)
	}
	return a.roles.Viewer == nil || granted(a.roles.Viewer, r) || a.operates(r)
}

func (a *Access) operates(r *http.Request) bool {
	if a.roles.Operator == nil {
		return a.own
	}
	return granted(a.roles.Operator, r)
}

func granted(grants []Grant, r *http.Request) bool {
	return slices.ContainsFunc(grants, func(g Grant) bool { return holds(attribute(g.Attribute, r), g.Values) })
}

// attribute is what is known of whoever makes the request, and nil if nothing is.
func attribute(name string, r *http.Request) any {
	if strings.HasPrefix(name, certificates) {
		return subject(r)
	}
	if auth := client.FromContext(r.Context()).Auth; auth != nil {
		return auth.GetAttribute(name)
	}
	return nil
}

// subject is of a certificate that was verified, with all of its parts in their order: what parsing leaves out of a
// name could make two of them alike.
func subject(r *http.Request) any {
	leaf := leafOf(r)
	if leaf == nil {
		return nil
	}
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(leaf.RawSubject, &name); err != nil || len(rest) > 0 {
		return nil
	}
	return name.String()
}

func leafOf(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

// holds says whether what an authenticator told, one value or a list of them, is one of values. What is of any other
// shape is none.
func holds(told any, values []string) bool {
	switch told := told.(type) {
	case []string:
		return slices.ContainsFunc(told, func(one string) bool { return slices.Contains(values, one) })
	case []any:
		return slices.ContainsFunc(told, func(one any) bool { return slices.Contains(values, scalar(one)) })
	default:
		return slices.Contains(values, scalar(told))
	}
}

// scalar is how a value is written in a configuration, and empty, which no value may be, for what is no scalar.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64: // numbers of JSON
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return ""
	}
}
