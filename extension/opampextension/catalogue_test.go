// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// proof is a fault or a hostile behaviour, and the tests that show that this extension
// has, or minds, it not. Each talks to a real peer: a server, a socket, or a whole
// Collector. A name with a slash is that of another package's test.
type proof struct {
	what  string
	tests []string
}

// faults are those of contrib's extension (v0.149, v0.158) that tests here are named
// after.
var faults = map[string]proof{
	"B1":  {"without health the collector hangs at start", []string{"TestB1WithoutHealthTheCollectorStartsAndSaysNothingOfIt"}},
	"B2":  {"a collector outlives its supervisor", []string{"TestAnExtensionWhoseParentIsGoneEndsTheProcess", "TestParentWatch", "TestParentWatchEndsAProcessThatHangs"}},
	"B3":  {"a service.instance.id that is no UUID keeps it from starting", []string{"TestB3AnyServiceInstanceIDIsAccepted"}},
	"B4":  {"a reload makes another agent", []string{"TestB4TheInstanceUIDOutlivesAReload", "TestTheSequenceOfUIDs"}},
	"B5":  {"the start time is the last status's", []string{"TestB5TheStartTimeIsOneAndTheSame"}},
	"B6":  {"health flaps on every start", []string{"TestB6AStartDoesNotFlap"}},
	"B7":  {"the same status is sent again and again", []string{"TestB7TheSameStatusAgainIsNotSent", "componenthealth/TestEveryEventIsAccountedFor"}},
	"B7b": {"a change below an unchanged whole is not sent", []string{"TestB7bASecondFailureIsToldWhileTheWholeLooksTheSame"}},
	"B8":  {"a second Unregister panics", []string{"TestB8UnregisterTwiceIsHarmless", "custommessage/TestUnregisterTwiceAndSendAfterIt"}},
	"B9":  {"who sends while the server is down waits for ever", []string{"TestB9NobodyWaitsForEver", "custommessage/TestNobodyWaitsWhenPipelinesStop"}},
	"B10": {"a reconnect tells nothing", []string{"TestB10AReconnectTellsEverything", "opampclient/TestEachConnectionStartsFromNothingTold"}},
	"B11": {"an outage is a flood of lines", []string{"TestB11AnOutageIsOneLine", "opampclient/TestAnHourOfTroubleIsALineAMinuteAtMost"}},
	"B12": {"a second Ready panics", []string{"TestB12EveryCallbackMayComeTwiceAndInAnyOrder", "TestCallbacksInAnyOrderByManyAtOnce"}},
	"B13": {"endpoints and intervals are not validated", []string{"TestRefused"}},
	"B14": {"the User-Agent is Go's", []string{"TestUserAgent"}},
	"B15": {"a server that hangs holds the shutdown", []string{"TestB15ShutdownDoesNotWaitForTheServer", "opampclient/TestStopIsBoundedWhateverThePeerDoes"}},
	"B16": {"a message of 100 MiB costs several times that", []string{"opampclient/TestMessagesPastTheLimitCostTheLimit"}},
	"B17": {"credentials follow a redirect", []string{"opampclient/TestRedirectsCarryNothingElsewhere", "TestNoRedirectIsFollowed"}},
}

// hostilities are what a server may do to an agent.
var hostilities = map[string]proof{
	"15": {"accepts and closes, in any way; sends garbage", []string{
		"opampclient/TestHostileServerIsConnectedOnceASecondAtMost", "opampclient/TestBrokenFramesEndTheConnection", "opampclient/TestUnreadableMessagesAreLeftOut",
	}},
	"16": {"never answers, never reads, trickles", []string{
		"opampclient/TestServerThatFallsSilentIsGivenUp", "opampclient/TestStopIsBoundedWhateverThePeerDoes", "TestShutdownWhileTheServerAcceptsNothing",
	}},
	"17": {"asks for everything, always", []string{"opampclient/TestServerThatAlwaysAsksIsAnsweredOnceASecond"}},
	"18": {"offers absurd heartbeat intervals", []string{"opampclient/TestOfferedHeartbeatsStayWithinBounds"}},
	"19": {"sends the agent away, in any words; refuses with any status", []string{
		"opampclient/TestWhoIsSentAwayComesBackInTime", "opampclient/TestUnavailableServerIsLeftForAsLongAsItAsks", "opampclient/TestRetryAfterIsHonoured",
	}},
	"20": {"offers and orders; renames the agent all the time", []string{
		"TestNothingThatAServerSaysChangesTheCollector", "opampclient/TestNewInstanceUIDWithEachAnswer", "opampclient/TestNewInstanceUIDOfAWrongKindIsNotTaken",
	}},
	"21": {"sends what makes no sense, or has no end", []string{
		"opampclient/TestSenselessMessages", "opampclient/TestMessagesPastTheLimitCostTheLimit", "opampclient/TestGzipWithoutEndOrContent",
		"opampclient/TestCompressionThatWasNotOfferedIsNoWebSocket", "opampclient/TestOversizeMessageEndsTheConnection",
	}},
	"22": {"redirects; a certificate, or a proxy, that is wrong", []string{
		"opampclient/TestRedirectsCarryNothingElsewhere", "opampclient/TestTLS", "opampclient/TestExpiredCertificate",
		"TestCertificatesAndAuthoritiesRotateWhileRunning", "opampclient/TestProxyThatDoesNotLetThrough",
	}},
	"23": {"floods with custom messages", []string{
		"opampclient/TestCustomMessagesThatNobodyTakes", "custommessage/TestAHandlerThatDoesNotReadLosesMessages",
	}},
	"24": {"has no capabilities, or others each time", []string{"opampclient/TestServerCapabilitiesThatChangeWithEachAnswer"}},
	"25": {"is in any state when the collector stops", []string{
		"opampclient/TestStopIsBoundedWhateverThePeerDoes", "opampclient/TestStopIsBoundedBetweenConversations",
		"opampclient/TestStopWhileTheClientCallsBack", "TestB15ShutdownDoesNotWaitForTheServer",
	}},
}

// A proof that was renamed or deleted is none.
func TestEveryFaultAndHostilityHasItsProof(t *testing.T) {
	there := opamptest.TestsIn(t, map[string]string{
		"":                 ".",
		"opampclient/":     "../../internal/opampclient",
		"componenthealth/": "../../internal/componenthealth",
		"custommessage/":   "../../internal/custommessage",
	})
	require.Len(t, faults, 18)
	require.Len(t, hostilities, 11)
	for _, proofs := range []map[string]proof{faults, hostilities} {
		for row, p := range proofs {
			require.NotEmpty(t, p.tests, row)
			for _, name := range p.tests {
				require.True(t, there[name], "%s, %s: there is no %s", row, p.what, name)
			}
		}
	}
}
