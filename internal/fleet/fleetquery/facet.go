// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetquery

import (
	"slices"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Facet is a side of an agent that a query can ask for.
type Facet string

const (
	FacetWord       Facet = "" // a free word
	FacetStatus     Facet = "status"
	FacetHealthy    Facet = "healthy"
	FacetLiveness   Facet = "liveness"
	FacetTransport  Facet = "transport"
	FacetName       Facet = "name"
	FacetVersion    Facet = "version"
	FacetHost       Facet = "host"
	FacetUID        Facet = "uid"
	FacetAttribute  Facet = "attr"
	FacetComponent  Facet = "component"
	FacetFailing    Facet = "failing"
	FacetAvailable  Facet = "available"
	FacetPipeline   Facet = "pipeline"
	FacetError      Facet = "error"
	FacetProblem    Facet = "problem"
	FacetConfig     Facet = "config"
	FacetDrift      Facet = "drift"
	FacetFinding    Facet = "finding"
	FacetCapability Facet = "capability"
	FacetGateway    Facet = "gateway"
	FacetSince      Facet = "since"
	FacetHeard      Facet = "heard"
	FacetIdentity   Facet = "identity"
	FacetFlaps      Facet = "flaps"
	FacetRuns       Facet = "runs"
)

// Description of a facet, for people.
type Description struct {
	Facet Facet
	Help  string
	// Example is a whole term.
	Example string
	// Words are the values that there are, where they are known beforehand.
	Words []string

	compare comparison
}

// comparison is how values of a facet are read and compared.
type comparison int

const (
	comparePattern   comparison = iota // the whole text, or with *
	compareWord                        // one of Words
	compareStatus                      // one of Words, or an agent's own word
	compareInside                      // somewhere in the text
	compareComponent                   // kind:type/name
	comparePipeline                    // type/name
	compareVersion
	comparePrefix // of an identifier
	compareConfig // prefix of a hash
	compareAge
	compareNumber
)

// wordFailing is what people rather say for unhealthy.
const wordFailing = "failing"

var descriptions = []Description{
	{
		FacetStatus, "How the collector is, or the status of a part in its own word", "status:failing",
		append([]string{wordFailing}, texts(fleet.Conditions())...), compareStatus,
	},
	{FacetComponent, "A component that runs: kind:type/name, or a type alone", "component:exporter:otlp*", nil, compareComponent},
	{FacetFailing, "A component that fails", "failing:exporter:otlp", nil, compareComponent},
	{FacetError, "A text in an error", `error:"connection refused"`, nil, compareInside},
	{FacetProblem, "A problem, by the beginning of its id", "problem:3fa9", nil, comparePrefix},
	{FacetVersion, "service.version, to compare too", "version:<0.155", nil, compareVersion},
	{FacetName, "service.name: the distribution, where nobody named it otherwise", "name:otelcol*", nil, comparePattern},
	{FacetHost, "host.name", "host:web-*", nil, comparePattern},
	{FacetLiveness, "Whether it is there, and how it went", "liveness:lost,silent", texts(fleet.Livenesses()), compareWord},
	{FacetSince, "For how long it has been as it is, or since before a date", "since:>1h", nil, compareAge},
	{FacetHeard, "How long ago it was heard last", "heard:>5m", nil, compareAge},
	{FacetConfig, "An effective config, a variant or a family of them, by the beginning of its hash", "config:3fa9", nil, compareConfig},
	{FacetDrift, "Whether its config differs from that of most in its family", "drift:true", []string{"true", "false"}, compareWord},
	{FacetFinding, "A risky setting in its config", "finding:debug-exporter", nil, comparePattern},
	{FacetFlaps, "How often it came back, started again or fell ill in the last hour", "flaps:>3", []string{">0", ">3"}, compareNumber},
	{FacetIdentity, "The logical identity by which it is known again", "identity:*web-1*", nil, comparePattern},
	{FacetRuns, "How many instances were this collector, one after the other", "runs:>1", []string{">1", ">9"}, compareNumber},
	{FacetPipeline, "A pipeline: type/name, or a type alone", "pipeline:traces", nil, comparePipeline},
	{FacetAvailable, "A component that it is built with", "available:receiver:filelog", nil, compareComponent},
	{FacetCapability, "A capability in the specification's word, or a custom one", "capability:ReportsHealth", nil, comparePattern},
	{FacetGateway, "A gateway that says it carries it: its host, its id or name, or the instance UID of its collector", "gateway:edge-*", nil, comparePattern},
	{FacetHealthy, "What it says of itself as a whole", "healthy:false", []string{"true", "false"}, compareWord},
	{FacetTransport, "How it is connected", "transport:http", []string{fleet.TransportWebSocket, fleet.TransportHTTP}, compareWord},
	{FacetUID, "The beginning of its instance UID", "uid:019a", nil, comparePrefix},
	{FacetAttribute, "An attribute that it told", "attr.k8s.cluster.name:prod", nil, comparePattern},
}

// aliases are other words for facets.
var aliases = map[string]Facet{
	"condition": FacetStatus, "health": FacetStatus,
	"service": FacetName, "distribution": FacetName,
	"attribute": FacetAttribute, "instance": FacetUID, "family": FacetConfig, "lint": FacetFinding,
	"logical": FacetIdentity, "flapping": FacetFlaps, "instances": FacetRuns,
}

// kindFacets are kinds of components that may be asked for as if they were facets: exporter:otlp.
var kindFacets = []string{"receiver", "processor", "exporter", "connector", "extension"}

// Facets describes every facet, the most useful first. The result must not be changed.
func Facets() []Description { return descriptions }

// Describe is the description of f, with false for what is no facet and for free words.
func Describe(f Facet) (Description, bool) {
	i := slices.IndexFunc(descriptions, func(d Description) bool { return d.Facet == f })
	if i < 0 {
		return Description{}, false
	}
	return descriptions[i], true
}

func (f Facet) comparison() comparison {
	d, ok := Describe(f)
	if !ok {
		return compareInside
	}
	return d.compare
}

func texts[T ~string](list []T) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}

// nearest is the word of list that s may have been meant as, or empty.
func nearest(s string, list []string) string {
	best, at := "", 3
	for _, w := range list {
		if d := distance(s, w); d < at && 3*d <= len(w) {
			best, at = w, d
		}
	}
	if best == "" {
		for _, w := range list {
			if len(s) >= 3 && strings.HasPrefix(w, s) {
				return w
			}
		}
	}
	return best
}

// distance counts the letters by which two short words differ.
func distance(a, b string) int {
	if len(a) > 32 || len(b) > 32 {
		return 32
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
