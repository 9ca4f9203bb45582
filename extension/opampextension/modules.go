// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/service"
	"go.opentelemetry.io/collector/service/hostcapabilities"

	"github.com/otel-fleetview/fleetview/internal/agentreport"
)

// modulesOf asks the host what the binary is built of. A host that does not know
// gives the empty set, which is reported all the same.
func modulesOf(host component.Host) agentreport.Modules {
	info, ok := host.(hostcapabilities.ModuleInfo)
	if !ok {
		return agentreport.Modules{}
	}
	infos := info.GetModuleInfos()
	return agentreport.Modules{
		Receivers:  builderRefs(infos.Receiver),
		Processors: builderRefs(infos.Processor),
		Exporters:  builderRefs(infos.Exporter),
		Extensions: builderRefs(infos.Extension),
		Connectors: builderRefs(infos.Connector),
	}
}

func builderRefs(infos map[component.Type]service.ModuleInfo) map[string]string {
	refs := make(map[string]string, len(infos))
	for typ, info := range infos {
		refs[typ.String()] = info.BuilderRef
	}
	return refs
}
