// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Package plantedfleet is two hundred collectors with troubles planted in them, each trouble the answer to a question
// that an operator asks: exporters that fail for one reason, a config that drifted, an old version, secrets and risky
// settings in configs, agents that said goodbye, were lost or fell silent, two that speak for one instance UID, one that
// comes and goes. What happened before is planted, too: a roll-out, a config that broke an exporter, pods that were started
// anew.
//
// Play has them report to a fleet; the Planted constants say what is to be found.
package plantedfleet
