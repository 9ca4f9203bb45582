// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import "go.opentelemetry.io/collector/featuregate"

// contribsGates are the feature gates of contrib's extension, in every spelling that it
// had, and why they change nothing here. They are known so that a command line which
// names one still starts.
var contribsGates = map[string]string{
	"extension.opampextension.RemoteRestarts":               "nothing that an OpAMP server says can restart this collector",
	"extension.opampextension.HeartbeatIntervalNegotiation": "capabilities::reports_heartbeat is on by default",
	"extension.opamp.HeartbeatIntervalNegotiation":          "capabilities::reports_heartbeat is on by default",
}

// The command line is read before any factory is asked for, so that the gates have to
// be there when the package is.
func init() { registerGates() }

// registerGates tolerates gates that are there already: another extension in the same
// binary may have registered them.
func registerGates() {
	for id, why := range contribsGates {
		_, _ = featuregate.GlobalRegistry().Register(id, featuregate.StageAlpha,
			featuregate.WithRegisterDescription("Accepted and without effect: "+why),
			featuregate.WithRegisterFromVersion("v0.1.0"))
	}
}
