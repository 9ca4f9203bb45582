// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"slices"

	"github.com/open-telemetry/opamp-go/protobufs"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Semantic convention names that the description is made of.
const (
	attrServiceInstanceID = "service.instance.id"
	attrServiceName       = "service.name"
	attrServiceVersion    = "service.version"
	attrServiceNamespace  = "service.namespace"
	attrOSType            = "os.type"
	attrOSDescription     = "os.description"
	attrHostArch          = "host.arch"
	attrHostName          = "host.name"
)

// Host is what is known of the machine. An empty field is left out of the
// description.
type Host struct {
	OSType        string // as Go spells it: linux, darwin, windows
	OSDescription string // for people: "Debian 12.11"
	Arch          string // as Go spells it: amd64, arm64
	Name          string
}

// Facts are what a description is made of.
type Facts struct {
	// InstanceUID is the agent's OpAMP instance UID in canonical text.
	InstanceUID string
	// Supervised says that a supervisor chose InstanceUID and compares it with
	// service.instance.id, which then has to be the same.
	Supervised bool

	BuildInfo component.BuildInfo
	// Resource is the one that the Collector's own telemetry carries.
	Resource pcommon.Resource
	Host     Host

	// IncludeResource adds Resource's other attributes to the non-identifying ones.
	IncludeResource bool
	// NonIdentifying are the user's own attributes. They win over all others.
	NonIdentifying map[string]string
}

// Description is the AgentDescription of a Collector.
//
// The identifying attributes are those of its own telemetry, so that a server can
// join the two (OpAMP's guidelines for the Collector): service.instance.id,
// service.name, service.version and, where there is one, service.namespace. The
// non-identifying ones are sorted by key; of those with one name the user's wins
// over the resource's and the resource's over the machine's.
func Description(f Facts) *protobufs.AgentDescription {
	return &protobufs.AgentDescription{
		IdentifyingAttributes:    identifying(f),
		NonIdentifyingAttributes: nonIdentifying(f),
	}
}

func identifying(f Facts) []*protobufs.KeyValue {
	kvs := []*protobufs.KeyValue{
		stringKeyValue(attrServiceInstanceID, serviceInstanceID(f)),
		stringKeyValue(attrServiceName, f.resourceText(attrServiceName, f.BuildInfo.Command)),
		stringKeyValue(attrServiceVersion, f.resourceText(attrServiceVersion, f.BuildInfo.Version)),
	}
	if namespace := f.resourceText(attrServiceNamespace, ""); namespace != "" {
		kvs = append(kvs, stringKeyValue(attrServiceNamespace, namespace))
	}
	return kvs
}

// serviceInstanceID is the resource's, whatever its spelling (a UUID is not
// required, see opentelemetry-collector-contrib PR 46495), unless a supervisor
// expects to find the instance UID there.
func serviceInstanceID(f Facts) string {
	if f.Supervised {
		return f.InstanceUID
	}
	return f.resourceText(attrServiceInstanceID, f.InstanceUID)
}

// resourceText is the resource's attribute as text, or fallback where there is
// none or an empty one.
func (f Facts) resourceText(key, fallback string) string {
	if f.Resource == (pcommon.Resource{}) {
		return fallback
	}
	if v, ok := f.Resource.Attributes().Get(key); ok && v.AsString() != "" {
		return v.AsString()
	}
	return fallback
}

func nonIdentifying(f Facts) []*protobufs.KeyValue {
	byName := map[string]*protobufs.KeyValue{}
	put := func(kv *protobufs.KeyValue) { byName[kv.GetKey()] = kv }

	for _, kv := range hostAttributes(f.Host) {
		put(kv)
	}
	if f.IncludeResource && f.Resource != (pcommon.Resource{}) {
		for _, kv := range keyValues(f.Resource.Attributes(), MaxAttributes, 0) {
			if !isIdentifying(kv.GetKey()) {
				put(kv)
			}
		}
	}
	for k, v := range f.NonIdentifying {
		put(stringKeyValue(k, v))
	}

	kvs := make([]*protobufs.KeyValue, 0, len(byName))
	for _, kv := range byName {
		kvs = append(kvs, kv)
	}
	slices.SortFunc(kvs, byKey)
	return kvs
}

func hostAttributes(h Host) []*protobufs.KeyValue {
	var kvs []*protobufs.KeyValue
	for _, a := range [...]struct{ key, value string }{
		{attrOSType, h.OSType},
		{attrOSDescription, h.OSDescription},
		{attrHostArch, h.Arch},
		{attrHostName, h.Name},
	} {
		if a.value != "" {
			kvs = append(kvs, stringKeyValue(a.key, a.value))
		}
	}
	return kvs
}

func isIdentifying(key string) bool {
	switch key {
	case attrServiceInstanceID, attrServiceName, attrServiceVersion, attrServiceNamespace:
		return true
	}
	return false
}
