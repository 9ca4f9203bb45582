// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// proof is what may be done to a gateway, or happen to it; the tests and benchmarks that show that it is borne; and
// where an operator sees that it happens: "metric" or "metric: value of its attribute", without the metric's prefix
// otelcol_opamp_gateway_. A name with a slash is that of another package's test.
type proof struct {
	what  string
	tests []string
	shows []string
}

// hostilities are what an agent, a server or a configuration may do.
var hostilities = map[string]proof{
	"1": {"frames that break the protocol of WebSockets, or its spirit", []string{
		"TestHostileFrames", "opampserver/TestFramesThatCloseTheConnection", "opampserver/TestPingFloodIsAnsweredAndHurtsNobodyElse", "FuzzLinkReader",
	}, []string{"refused: protocol", "refused: text_frame"}},
	"2": {"headers of messages that are none", []string{"TestHostileMessages", "opampwire/TestFrameHeaders", "opampwire/FuzzParseFrame"}, []string{"refused: malformed"}},
	"3": {"messages that are none, or that only a server can tell", []string{
		"TestHostileMessages", "TestMessagesThatOnlyTheServerRefuses", "TestWhatIsForwardedAsItIs", "opampwire/FuzzScanAgentMessage",
	}, []string{"drops: malformed", "refused: malformed_too_many", "server_errors"}},
	"4": {"instance UIDs that are none, two in a message, very many on a connection", []string{
		"TestHostileMessages", "TestWhatIsForwardedAsItIs", "TestConnectionThatMakesUpInstanceUIDs", "opampwire/TestInstanceUIDFromBytes",
	}, []string{"refused: bad_instance_uid", "drops: connection_full"}},
	"5": {"sequence numbers that repeat, go back, or overflow", []string{"TestWhatIsForwardedAsItIs"}, []string{"messages"}},
	"6": {"nesting", []string{"TestMessagesThatOnlyTheServerRefuses"}, []string{"server_errors"}},
	"7": {"messages of every size, bombs", []string{
		"TestHugeMessagesCostTheirSenderOnly", "TestMessageThatCostAConnectionIsNotSentAgain", "TestHostileFrames", "opampserver/TestExchangesThatAreRefused",
		"BenchmarkOffenders",
	}, []string{"refused: too_large", "drops: upstream_limit"}},
	"8": {"requests over plain HTTP", []string{
		"TestHostileRequests", "opampserver/TestExchangesThatAreRefused", "opampserver/TestBodyThatTricklesHasADeadline",
		"opampserver/TestChunkedBodyWithoutEndStopsAtTheLimit", "opampserver/TestPipelinedExchangesAreAnsweredInOrder",
	}, []string{"refused: media_type", "refused: content_encoding", "refused: method", "refused: origin", "refused: slow_message"}},
	"9": {"never reads; is silent; goes at once; comes by the thousand", []string{
		"TestStuckAgentIsClosedAlone", "TestConnectionsWithoutAnAgent", "opampserver/TestSilentPeerIsPingedOnceAndThenClosed", "BenchmarkReconnectStorm",
	}, []string{"drops: agent_slow", "refused: write_timeout", "refused: first_message", "refused: silent"}},
	"10": {"two connections with one instance UID; goodbyes first, last, for others", []string{
		"TestNoTakeoverWhileTheFirstLives", "TestDeadAgentsAreSaidGoodbyeFor", "TestGoodbyeForSomebodyElse", "TestScenarios",
	}, []string{"duplicates: replace", "drops: duplicate"}},
	"11":                                  {"capabilities that do not exist, reports without a capability", []string{"TestWhatIsForwardedAsItIs"}, []string{"messages"}},
	"12":                                  {"texts meant for a terminal, a log or a page", []string{"TestWhatIsForwardedAsItIs", "TestWhatAPeerSaysIsQuotedInTheLog"}, []string{"messages"}},
	"13":                                  {"requests and custom messages that nobody asked for", []string{"TestWhatIsForwardedAsItIs"}, []string{"messages"}},
	"14 a message for nobody, or another": {"", []string{"TestServersMessagesForNobody", "TestPerAgentConnections"}, []string{"drops: unknown_uid", "drops: no_uid", "drops: foreign_uid"}},
	"14 a slow agent":                     {"", []string{"TestStuckAgentIsClosedAlone"}, []string{"drops: agent_slow"}},
	"14 no server at the start; one that flips": {"", []string{"TestServerThatIsNotThereAndFlips"}, []string{"refused: no_upstream", "upstreams: disconnected", "agents_announced"}},
	"14 a new instance UID that somebody has":   {"", []string{"TestNewInstanceUIDThatSomebodyHas", "TestServerThatRenamesAllTheTime", "TestServerRenamesAnAgent"}, []string{"drops: duplicate", "agents_renamed"}},
	"14 one instance UID over two gateways": {"", []string{
		"TestAgentThatMovedToAnotherGateway", "TestAgentThatMovedBehindAThirdGateway", "TestTwoAgentsOverTwoGateways",
	}, []string{"goodbyes", "drops: duplicate"}},
	"14 temporary instance UIDs that are the same": {"", []string{"TestTemporaryUIDsThatAreTheSame"}, []string{"duplicates: replace", "agents_renamed"}},
	"14 a gateway that leads to itself": {"", []string{
		"TestLoopOfOneGateway", "TestLoopOfSeveralGateways", "TestGatewaysThatFallBackOnEachOther", "TestLoopThatClosesLater",
		"TestLoopOfConnectionsOfOneAgentEach", "TestLoopOverPlainHTTP", "TestLoopOfWhichNothingTells", "TestAgentThatClaimsToBeTheGatewayAbove",
	}, []string{"connects: loop", "refused: loop"}},
	"a hostile server": {"", []string{
		"TestHostileServer", "TestMessagesThatNobodyCanRead", "TestServerThatDoesNotRead", "TestServerThatWantsToBeLeftAlone",
	}, []string{"disconnects: protocol", "disconnects: too_large", "disconnects: stuck", "connects: throttled", "drops: server_malformed"}},
}

// identities are the attempts on somebody's identity, each of which has to fail.
var identities = map[string]proof{
	"takeover":              {"", []string{"TestNoTakeoverWhileTheFirstLives", "TestNoTakeoverOfAnIdleAgent", "TestNoTakeoverOfAnAgentThatPolls"}, []string{"drops: duplicate"}},
	"spoof":                 {"", []string{"TestHostileMessages", "TestGoodbyeForSomebodyElse", "TestPollingAgentAndItsDoubleOnAWebSocket"}, []string{"refused: malformed", "drops: duplicate"}},
	"duplicate, refuse":     {"", []string{"TestNoTakeoverWhileTheFirstLives"}, []string{"duplicates: refuse", "drops: duplicate"}},
	"duplicate, replace":    {"", []string{"TestNoTakeoverWhileTheFirstLives", "TestSilentConnectionIsReplaced"}, []string{"duplicates: replace"}},
	"duplicate, reidentify": {"", []string{"TestDuplicateIsReidentified"}, []string{"duplicates: reidentify", "drops: reidentified"}},
	"reserved capability":   {"", []string{"TestReservedCapabilityIsRefused", "TestReservedCapabilityOverPlainHTTP", "TestWhatHidesBehindAGroup", "TestAnswersToTheGatewaysQuestions"}, []string{"drops: reserved"}},
	"foreign reply":         {"", []string{"TestServersMessagesForNobody", "TestPerAgentConnections"}, []string{"drops: foreign_uid", "drops: unknown_uid"}},
	"credentials":           {"", []string{"TestServerAuthenticatesAgents", "TestConnectProtocol", "opampgatewayextension/TestServerAuthenticatesWithoutTheGatewaysCredentials"}, []string{"authentications: rejected", "refused: unauthorized"}},
	"another destination":   {"", []string{"TestOffersOfConnectionSettings", "TestWhatHidesBehindAGroup"}, []string{"destinations: stripped"}},
}

// faults are those that gateways before this one have.
var faults = map[string]proof{
	"a server that knows nothing of gateways":         {"", []string{"TestBothWaysThroughAnUnmodifiedServer", "TestFirstReplyCarriesWhatTheServerSaidOnce"}, []string{"messages"}},
	"an agent that stops reading":                     {"", []string{"TestStuckAgentIsClosedAlone", "BenchmarkOffenders"}, []string{"drops: agent_slow"}},
	"a message beyond the server's limit":             {"", []string{"TestMessageThatCostAConnectionIsNotSentAgain", "BenchmarkOffenders"}, []string{"drops: upstream_limit", "refused: too_large"}},
	"a message of hundreds of MiB":                    {"", []string{"TestHugeMessagesCostTheirSenderOnly", "BenchmarkOffenders"}, []string{"refused: too_large"}},
	"a server that froze":                             {"", []string{"TestFrozenUpstreamIsFound"}, []string{"disconnects: silent"}},
	"a server that was killed and is back":            {"", []string{"TestUpstreamLossKeepsAgents", "BenchmarkServerKilledAndBack"}, []string{"disconnects: network", "agents_unannounced", "agents_announced"}},
	"agents that are killed":                          {"", []string{"TestDeadAgentsAreSaidGoodbyeFor", "BenchmarkThousandAgentsKilled"}, []string{"goodbyes"}},
	"two agents with one instance UID":                {"", []string{"TestNoTakeoverWhileTheFirstLives", "TestSilentConnectionIsReplaced"}, []string{"duplicates: replace"}},
	"an agent that speaks by the gateway's own means": {"", []string{"TestReservedCapabilityIsRefused"}, []string{"drops: reserved"}},
	"an agent that claims another's instance UID":     {"", []string{"TestNoTakeoverWhileTheFirstLives"}, []string{"drops: duplicate"}},
	"an agent over plain HTTP":                        {"", []string{"TestPollingAgentsOverAWebSocket", "e2e/TestInteropGateway"}, []string{"polling"}},
	"balance after connections to the server ended":   {"", []string{"TestLossOfOneUpstreamMovesItsAgents", "TestAgentsAreBackWhereTheyBelong"}, []string{"upstream_agents", "agents_moved"}},
	"a new instance UID before the agent speaks":      {"", []string{"TestServerRenamesAnAgent"}, []string{"agents_renamed"}},
}

// A proof that was renamed or deleted is none, nor is one that shows nowhere.
func TestEveryHostilityHasItsProof(t *testing.T) {
	there := opamptest.ProofsIn(t, map[string]string{
		"": ".", "opampserver/": "../opampserver", "opampwire/": "../opampwire",
		"opampgatewayextension/": "../../extension/opampgatewayextension", "e2e/": "../e2e",
	})
	for i := range 13 {
		require.Contains(t, hostilities, strconv.Itoa(i+1))
	}
	metadata, err := os.ReadFile("../../extension/opampgatewayextension/metadata.yaml")
	require.NoError(t, err)
	for _, proofs := range []map[string]proof{hostilities, identities, faults} {
		for row, p := range proofs {
			require.NotEmpty(t, p.tests, row)
			require.NotEmpty(t, p.shows, row)
			for _, name := range p.tests {
				require.True(t, there[name], "%s, %s: there is no %s", row, p.what, name)
			}
			for _, shown := range p.shows {
				metric, value, _ := strings.Cut(shown, ": ")
				require.Contains(t, string(metadata), "    opamp_gateway_"+metric+":\n", "%s: there is no metric %s", row, metric)
				require.True(t, value == "" || values(metric)[value], "%s: %s is never %q", row, metric, value)
			}
		}
	}
}

// values are those that a metric's attribute may have.
func values(metric string) map[string]bool {
	out := map[string]bool{}
	add := func(words ...string) {
		for _, w := range words {
			out[w] = true
		}
	}
	switch metric {
	case "drops":
		for _, r := range Reasons() {
			add(string(r))
		}
	case "refused":
		for _, r := range opampserver.Reasons() {
			add(string(r))
		}
		add(string(ReasonNoUpstream), loopDenied)
	case "duplicates":
		for _, d := range AllDuplicates() {
			add(string(d))
		}
	case "connects":
		add("ok", "loop", "unauthorized", "throttled", "http_status", "auth", "proxy", "dns", "refused", "timeout", "network")
	case "disconnects":
		add("closed_by_server", "silent", "stuck", "shutdown", "protocol", "too_large", "fault", "network")
	case "authentications":
		add("accepted", "rejected", "failed", "cached")
	case "destinations":
		add("stripped", "rewritten")
	case "upstreams":
		add("connected", "idle", "disconnected")
	}
	return out
}
