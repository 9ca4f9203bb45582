// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetconfig

// deprecation is what upstream has said of a type of component.
type deprecation struct {
	// Removed says that newer distributions of upstream don't have it: such a collector can't be updated as it is.
	removed bool
	// since is the first version without it, where that is known; empty else.
	since string
	// instead is what upstream names in its place; empty for nothing.
	instead string
}

// deprecations are components of the Collector and of contrib, by kind and type. Each line names its source: a pull
// request or an issue of open-telemetry/opentelemetry-collector (core) or opentelemetry-collector-contrib (contrib).
var deprecations = map[string]deprecation{
	"exporter:logging":         {removed: true, since: "0.111.0", instead: "the debug exporter"},          // core#11337
	"extension:memory_ballast": {removed: true, since: "0.109.0", instead: "GOMEMLIMIT"},                  // core#8803, core#8343
	"exporter:jaeger":          {removed: true, since: "0.85.0", instead: "the otlp exporter"},            // contrib#26546
	"exporter:jaeger_thrift":   {removed: true, since: "0.85.0", instead: "the otlphttp exporter"},        // contrib#26546
	"processor:spanmetrics":    {removed: true, instead: "the spanmetrics connector"},                     // contrib#31508
	"processor:datadog":        {removed: true, instead: "the datadog connector"},                         // contrib#31037
	"exporter:f5cloud":         {removed: true},                                                           // contrib#31531
	"exporter:skywalking":      {removed: true},                                                           // contrib#33907
	"exporter:opencensus":      {removed: true, since: "0.134.0", instead: "the otlp exporter"},           // contrib#42239
	"receiver:opencensus":      {removed: true, since: "0.134.0", instead: "the otlp receiver"},           // contrib#42239
	"exporter:loki":            {removed: true, instead: "the otlphttp exporter: Loki takes OTLP itself"}, // contrib#41413
	"processor:servicegraph":   {instead: "the servicegraph connector"},                                   // contrib#19737
	"exporter:parquet":         {},                                                                        // contrib#27290
	"exporter:sapm":            {instead: "the otlphttp exporter"},                                        // contrib#32124
}

// note says what has become of the component, and what would do.
func (d deprecation) note() string {
	out := "deprecated upstream"
	switch {
	case d.removed && d.since != "":
		out = "removed upstream in " + d.since
	case d.removed:
		out = "removed upstream"
	}
	if d.instead != "" {
		out += "; use " + d.instead
	}
	return out
}

// lookAtType reports a component that upstream gives up.
func (l *linter) lookAtType(section, id string, e *entry) {
	kind, ok := sections[section]
	if !ok || id == "" || e.path[1:] != section+separator+id {
		return
	}
	d, ok := deprecations[kind+":"+typeOf(id)]
	if !ok {
		return
	}
	rule := ruleDeprecated
	if d.removed {
		rule = ruleRemoved
	}
	l.found = append(l.found, Finding{Rule: rule, Place: e.place(), Note: d.note()})
}
