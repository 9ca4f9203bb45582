// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"maps"
	"slices"
	"strings"
	"unicode"

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
	attrHostID            = "host.id"
	attrProcessPID        = "process.pid"
	attrProcessExecutable = "process.executable.name"
	attrRuntimeName       = "process.runtime.name"
	attrRuntimeVersion    = "process.runtime.version"
)

// Host is what is known of the machine. An empty field is left out of the
// description.
type Host struct {
	OSType        string // as Go spells it: linux, darwin, windows
	OSDescription string // for people: "Debian 12.11"
	Arch          string // as Go spells it: amd64, arm64
	Name          string
	ID            string // of the operating system's installation
}

// Process is what is known of the running Collector. Its arguments are not, because
// they may hold secrets. An empty field is left out of the description.
type Process struct {
	PID            int64
	Executable     string // the file's name, without its directory
	RuntimeName    string
	RuntimeVersion string
}

// Facts are what a description is made of.
type Facts struct {
	// InstanceUID is the agent's OpAMP instance UID in canonical text.
	InstanceUID string
	// Supervised says that a supervisor chose InstanceUID and compares it with
	// service.instance.id, which then has to be the same. A supervisor also writes the
	// description of a first short run into the configuration of the real one, as the
	// resource of its telemetry; what is true of one process is then left out.
	Supervised bool

	BuildInfo component.BuildInfo
	// Resource is the one that the Collector's own telemetry carries.
	Resource pcommon.Resource
	Host     Host
	Process  Process

	// IncludeResource adds Resource's other attributes to the non-identifying ones.
	IncludeResource bool
	// Identifying and NonIdentifying are the user's own attributes. They win over all
	// others; service.instance.id, service.name and service.version in Identifying are
	// ignored.
	Identifying    map[string]string
	NonIdentifying map[string]string
}

// Description is the AgentDescription of a Collector.
//
// The identifying attributes are those of its own telemetry, so that a server can
// join the two (OpAMP's guidelines for the Collector): service.instance.id,
// service.name, service.version and, where there is one, service.namespace; after
// them the user's by key. The non-identifying ones are sorted by key; of those with
// one name the user's wins over the resource's and the resource's over what was found
// out about machine and process. None repeats an identifying attribute.
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
	if namespace := f.namespace(); namespace != "" {
		kvs = append(kvs, stringKeyValue(attrServiceNamespace, namespace))
	}
	for _, k := range slices.Sorted(maps.Keys(f.Identifying)) {
		if !isService(k) {
			kvs = append(kvs, stringKeyValue(k, f.Identifying[k]))
		}
	}
	return kvs
}

func (f Facts) namespace() string {
	if own, ok := f.Identifying[attrServiceNamespace]; ok {
		return own
	}
	return f.resourceText(attrServiceNamespace, "")
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

	for _, kv := range automatic(f) {
		put(kv)
	}
	if f.IncludeResource && f.Resource != (pcommon.Resource{}) {
		for _, kv := range keyValues(f.Resource.Attributes(), MaxAttributes, 0) {
			if !isService(kv.GetKey()) {
				put(kv)
			}
		}
	}
	for k, v := range f.NonIdentifying {
		put(stringKeyValue(k, v))
	}

	kvs := make([]*protobufs.KeyValue, 0, len(byName))
	for k, kv := range byName {
		if _, repeated := f.Identifying[k]; !repeated {
			kvs = append(kvs, kv)
		}
	}
	slices.SortFunc(kvs, byKey)
	return kvs
}

// automatic are the attributes that nobody has to write.
func automatic(f Facts) []*protobufs.KeyValue {
	var kvs []*protobufs.KeyValue
	put := func(key, value string) {
		if value = plain(value); value != "" {
			kvs = append(kvs, stringKeyValue(key, value))
		}
	}
	put(attrOSType, f.Host.OSType)
	put(attrOSDescription, f.Host.OSDescription)
	put(attrHostArch, f.Host.Arch)
	put(attrHostName, f.Host.Name)
	put(attrHostID, f.Host.ID)
	if f.Supervised {
		return kvs
	}
	put(attrProcessExecutable, f.Process.Executable)
	put(attrRuntimeName, f.Process.RuntimeName)
	put(attrRuntimeVersion, f.Process.RuntimeVersion)
	if f.Process.PID != 0 {
		kvs = append(kvs, &protobufs.KeyValue{Key: attrProcessPID, Value: &protobufs.AnyValue{
			Value: &protobufs.AnyValue_IntValue{IntValue: f.Process.PID},
		}})
	}
	return kvs
}

// plain is s without what would not survive the way through a supervisor, which puts
// the values between double quotes into a YAML file that the Collector then expands.
func plain(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\':
			return '/'
		case r == '$' || r == unicode.ReplacementChar:
			return -1
		case !unicode.IsPrint(r):
			return ' '
		}
		return r
	}, s))
}

// isService says whether an attribute is one of those that identify every Collector.
func isService(key string) bool {
	switch key {
	case attrServiceInstanceID, attrServiceName, attrServiceVersion, attrServiceNamespace:
		return true
	}
	return false
}
