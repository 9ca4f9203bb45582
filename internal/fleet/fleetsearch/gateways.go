// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Who is behind a gateway is what the gateway says, so it changes without a change of the agent: the column of all
// agents is filled anew when a gateway that is there tells of others.

// hearTeller notes who tells of gateways, and whether that puts others behind them.
func (x *Index) hearTeller(a *fleet.Agent) {
	before := x.tellers[a.UID]
	if before == nil && len(a.Gateways) == 0 {
		return
	}
	if before == nil || carriesOthers(before, a) {
		x.moved = true
	}
	x.tellers[a.UID] = a
}

func carriesOthers(before, now *fleet.Agent) bool {
	if len(before.Gateways) != len(now.Gateways) || before.Present() != now.Present() || before.HostName() != now.HostName() {
		return true
	}
	for i, g := range now.Gateways {
		if g.Gateway != before.Gateways[i].Gateway || !g.SameCarried(before.Gateways[i]) {
			return true
		}
	}
	return false
}

// gatewayText is what a gateway is found by.
func gatewayText(c fleet.Carrier) string {
	uid := c.Agent.UID.String()
	value := cut(c.Agent.HostName())
	if value == "" {
		value = uid
	}
	_, name, _ := strings.Cut(c.Gateway.Gateway, "/")
	return strings.Join([]string{value, cut(c.Gateway.Gateway), cut(name), uid}, "\x00")
}

// matchesGateway holds each part of such a text against match.
func matchesGateway(text string, match func(string) bool) bool {
	for part := range strings.SplitSeq(text, "\x00") {
		if part != "" && match(part) {
			return true
		}
	}
	return false
}

// applyGateways fills the column of gateways.
func (x *Index) applyGateways() {
	x.carriers, x.moved = x.fleet.Carriers(), false
	behind := make([][]string, len(x.rows))
	for _, c := range x.carriers {
		text := gatewayText(c)
		c.Gateway.EachCarried(func(uid opampwire.InstanceUID) {
			if slot, ok := x.slots[uid]; ok && uid != c.Agent.UID {
				behind[slot] = append(behind[slot], text)
			}
		})
	}
	column := x.columns[sideGateway]
	for slot, texts := range behind {
		if len(texts) > 0 || column.of[slot] != 0 {
			column.put(slot, texts)
		}
	}
}

// gatewaysOf are the texts of an agent.
func (x *Index) gatewaysOf(uid opampwire.InstanceUID) (texts []string) {
	for _, c := range x.carriers {
		if uid != c.Agent.UID && c.Gateway.Carries(uid) {
			texts = append(texts, gatewayText(c))
		}
	}
	return texts
}
