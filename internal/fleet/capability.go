// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// Capabilities are the defined bits of AgentCapabilities.
type Capabilities uint64

// capabilityNames are the specification's names of the bits, lowest first.
var capabilityNames = []struct {
	bit  protobufs.AgentCapabilities
	name string
}{
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus, "ReportsStatus"},
	{protobufs.AgentCapabilities_AgentCapabilities_AcceptsRemoteConfig, "AcceptsRemoteConfig"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig, "ReportsEffectiveConfig"},
	{protobufs.AgentCapabilities_AgentCapabilities_AcceptsPackages, "AcceptsPackages"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsPackageStatuses, "ReportsPackageStatuses"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnTraces, "ReportsOwnTraces"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnMetrics, "ReportsOwnMetrics"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnLogs, "ReportsOwnLogs"},
	{protobufs.AgentCapabilities_AgentCapabilities_AcceptsOpAMPConnectionSettings, "AcceptsOpAMPConnectionSettings"},
	{protobufs.AgentCapabilities_AgentCapabilities_AcceptsOtherConnectionSettings, "AcceptsOtherConnectionSettings"},
	{protobufs.AgentCapabilities_AgentCapabilities_AcceptsRestartCommand, "AcceptsRestartCommand"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth, "ReportsHealth"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsRemoteConfig, "ReportsRemoteConfig"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat, "ReportsHeartbeat"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents, "ReportsAvailableComponents"},
	{protobufs.AgentCapabilities_AgentCapabilities_ReportsConnectionSettingsStatus, "ReportsConnectionSettingsStatus"},
}

// definedCapabilities masks bits that mean nothing yet.
var definedCapabilities = func() (all Capabilities) {
	for _, c := range capabilityNames {
		all |= Capabilities(c.bit)
	}
	return all
}()

// reportsConfig is the bit of an agent that tells its effective config.
const reportsConfig = Capabilities(protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig)

// Names of the bits that are set, in the specification's words.
func (c Capabilities) Names() []string {
	var out []string
	for _, n := range capabilityNames {
		if c.has(n.bit) {
			out = append(out, n.name)
		}
	}
	return out
}

func (c Capabilities) has(bit protobufs.AgentCapabilities) bool { return c&Capabilities(bit) != 0 }

func decodeCustomCapabilities(c *cutter, cc *protobufs.CustomCapabilities) []string {
	names := cc.GetCapabilities()
	if len(names) > c.limits.MaxAttributes {
		c.note(CutAttributes)
		names = names[:c.limits.MaxAttributes]
	}
	out := make([]string, 0, len(names))
	for _, n := range names {
		out = append(out, c.name(n))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
