// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"os"
	"sync/atomic"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/agentreport"
	"github.com/otel-fleetview/fleetview/internal/redact"
)

// RedactionConfig changes which values count as secrets. There are built-in rules; what
// they mask is masked in everything that this extension says, on the wire and in logs.
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
	// ProviderValues is mask or keep: what happens to text that came from ${env:X},
	// ${file:X} and the like.
	ProviderValues string `mapstructure:"provider_values"`

	_ struct{}
}

// Validate reports every pattern that can't be read.
func (c *RedactionConfig) Validate() error {
	_, err := c.rules(redact.ProviderValues(c.ProviderValues))
	return err
}

func (c *RedactionConfig) rules(provided redact.ProviderValues) (*redact.Rules, error) {
	return redact.New(redact.Options{
		Keys:           c.Keys,
		ExceptKeys:     c.ExceptKeys,
		Allow:          c.Allow,
		Deny:           c.Deny,
		ProviderValues: provided,
	})
}

// redactor takes secrets out of what leaves this extension. It learns from the
// configuration what to look for in texts. Safe for concurrent use.
type redactor struct {
	// Fixed at construction.
	rules       *redact.Rules
	attributing *redact.Rules // the same, with what providers put in kept

	// Nil until there is a configuration.
	known      atomic.Pointer[redact.Secrets]
	attributed atomic.Pointer[redact.Secrets] // those that an attribute must not repeat
}

func newRedactor(cfg *RedactionConfig) (*redactor, error) {
	rules, err := cfg.rules(redact.ProviderValues(cfg.ProviderValues))
	if err != nil {
		return nil, err
	}
	attributing, err := cfg.rules(redact.KeepProviderValues)
	return &redactor{rules: rules, attributing: attributing}, err
}

// effectiveConfig is the configuration as it may be told, and how many of its values
// were masked. The view before expansion is added if raw is set. From then on its secrets
// are looked for in all that is told.
func (r *redactor) effectiveConfig(effective, unexpanded *confmap.Conf, raw bool) (*protobufs.EffectiveConfig, int, error) {
	expanded, written, known := look(r.rules, treeOf(effective), treeOf(unexpanded))
	_, _, attributed := look(r.attributing, treeOf(effective), treeOf(unexpanded))
	r.known.Store(known)
	r.attributed.Store(attributed)
	if !raw {
		message, err := agentreport.EffectiveConfig(expanded.Config, nil)
		return message, expanded.Masked, err
	}
	message, err := agentreport.EffectiveConfig(expanded.Config, written.Config)
	return message, expanded.Masked + written.Masked, err
}

// look is both views of a configuration without secrets, and what the secrets are.
func look(rules *redact.Rules, effective, unexpanded map[string]any) (expanded, written redact.Result, known *redact.Secrets) {
	expanded = rules.Config(effective, unexpanded)
	written = rules.Raw(unexpanded)
	// The Collector has masked opaque fields in the one; in the other, defaults of
	// references and lists of headers still stand.
	return expanded, written, expanded.Secrets.Join(written.Secrets).With(valuesOf(written.SecretEnv)...)
}

// valuesOf reads the environment variables that hold secrets. The Collector has masked
// them in opaque fields before we see them, and a component's error may repeat them.
func valuesOf(names []string) []string {
	values := make([]string, 0, len(names))
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			values = append(values, value)
		}
	}
	return values
}

func treeOf(conf *confmap.Conf) map[string]any {
	if conf == nil {
		return nil
	}
	return conf.ToStringMap()
}

// text is s without secrets.
func (r *redactor) text(s string) string { return r.rules.Text(s, r.known.Load()) }

// textOfAttribute is the same for what says who the agent is. A node's name from the
// environment is no secret there, though it is masked in an endpoint.
func (r *redactor) textOfAttribute(s string) string { return r.rules.Text(s, r.attributed.Load()) }

// health is h without secrets. h itself is left alone: its sender compares it with the next.
func (r *redactor) health(h *protobufs.ComponentHealth) *protobufs.ComponentHealth {
	clean := proto.Clone(h).(*protobufs.ComponentHealth)
	r.healthPart(clean)
	return clean
}

// healthPart goes as deep as agentreport builds: three levels.
func (r *redactor) healthPart(h *protobufs.ComponentHealth) {
	if h.LastError != "" {
		h.LastError = r.text(h.LastError)
	}
	r.attributes(h.Attributes, r.text)
	for _, part := range h.ComponentHealthMap {
		r.healthPart(part)
	}
}

// description is d, which is its caller's own, without secrets.
func (r *redactor) description(d *protobufs.AgentDescription) *protobufs.AgentDescription {
	r.attributes(d.GetIdentifyingAttributes(), r.textOfAttribute)
	r.attributes(d.GetNonIdentifyingAttributes(), r.textOfAttribute)
	return d
}

func (r *redactor) attributes(attributes []*protobufs.KeyValue, text func(string) string) {
	for _, a := range attributes {
		r.attribute(a, text)
	}
}

// attribute masks by name as a configuration would: the value of a key like api_token is
// a secret, whatever it looks like.
func (r *redactor) attribute(a *protobufs.KeyValue, text func(string) string) {
	value, ok := a.GetValue().GetValue().(*protobufs.AnyValue_StringValue)
	if !ok {
		r.value(a.GetValue(), text)
		return
	}
	named := r.rules.Config(map[string]any{a.GetKey(): value.StringValue}, nil).Config
	if shown, ok := named[a.GetKey()].(string); ok {
		value.StringValue = text(shown)
	}
}

// value masks within lists and maps of attributes, which agentreport keeps shallow.
func (r *redactor) value(v *protobufs.AnyValue, text func(string) string) {
	switch v := v.GetValue().(type) {
	case *protobufs.AnyValue_StringValue:
		v.StringValue = text(v.StringValue)
	case *protobufs.AnyValue_ArrayValue:
		for _, item := range v.ArrayValue.GetValues() {
			r.value(item, text)
		}
	case *protobufs.AnyValue_KvlistValue:
		r.attributes(v.KvlistValue.GetValues(), text)
	}
}

// logger is a logger whose texts and errors hold no secrets.
func (r *redactor) logger(l *zap.Logger) *zap.Logger {
	return l.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return cleanCore{Core: core, hide: r.text}
	}))
}

// cleanCore hides secrets in the fields of log lines. Messages are fixed texts.
type cleanCore struct {
	zapcore.Core
	hide func(string) string
}

func (c cleanCore) With(fields []zapcore.Field) zapcore.Core {
	return cleanCore{Core: c.Core.With(c.clean(fields)), hide: c.hide}
}

func (c cleanCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c cleanCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.Core.Write(e, c.clean(fields))
}

func (c cleanCore) clean(fields []zapcore.Field) []zapcore.Field {
	out := make([]zapcore.Field, len(fields))
	for i, f := range fields {
		switch f.Type {
		case zapcore.StringType:
			f.String = c.hide(f.String)
		case zapcore.ErrorType:
			if err, ok := f.Interface.(error); ok && err != nil {
				f = zap.String(f.Key, c.hide(err.Error()))
			}
		}
		out[i] = f
	}
	return out
}
