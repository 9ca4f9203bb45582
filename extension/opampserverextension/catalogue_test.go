// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

// proof is a duty, a hostile behaviour or a flaw, and the tests that show that this server does, stands or lacks it. Those of
// websocket speak over a WebSocket, those of http over plain HTTP; those of both over both, or they are of what lies
// behind either. A name with a slash is that of another package's test.
type proof struct {
	what                  string
	both, websocket, http []string
}

// duties are what the specification asks of a server, in the order of its checklist.
var duties = map[string]proof{
	"S1": {what: "speaks both transports at /v1/opamp on port 4320", both: []string{"TestDefaults", "TestReportsOverBothTransportsReachTheAPI"}},
	"S2": {
		what:      "answers every message, with an error or with the rest",
		both:      []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports"},
		websocket: []string{"opampserver/TestEveryMessageIsAnsweredInOrder", "opampserver/TestNilReplyIsAnEmptyAnswer"},
		http:      []string{"opampserver/TestExchange", "opampserver/TestPipelinedExchangesAreAnsweredInOrder"},
	},
	"S3": {what: "names the agent in the answer", both: []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports"}, websocket: []string{"opampserver/TestManyAgentsShareAConnection"}},
	"S4": {what: "states its capabilities with the first answer", both: []string{"fleet/TestScenarios", "TestServerNeverOffersAnything"}},
	"S5": {what: "asks for everything after a gap, once", both: []string{"TestHostileCountsAreNoPingPong", "fleet/TestScenarios"}},
	"S6": {what: "a count may start at 0 or 1, and anew", both: []string{"TestHostileCountsAreNoPingPong"}},
	"S7": {what: "asks for a list of components whose hash it does not know", both: []string{"TestHostileHashesPoisonNobody", "fleet/TestAListIsKnownByItsHashIfItIsWhatTheHashSays", "fleet/TestNobodyCanMakeAHashStandForAnotherList"}},
	"S8": {what: "an instance UID is 16 bytes", both: []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports"}},
	"S9": {what: "two agents with one instance UID are told apart; a quick reconnect is not two", both: []string{"TestTwoAgentsWithOneInstanceUIDAreToldApart", "TestAQuickReconnectIsNoDuplicate"}},
	"S10": {
		what: "what is malformed is answered, counted, and in the end closed",
		both: []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports"}, websocket: []string{"opampserver/TestFramesThatCloseTheConnection", "opampserver/TestOneGoodMessageForgivesTheBadOnesBefore"},
		http: []string{"opampserver/TestExchangesThatAreRefused"},
	},
	"S11": {what: "the header of a frame is 0", websocket: []string{"opampserver/TestMalformedMessagesAreAnsweredWithWhatIsWrong"}, http: []string{"opampserver/TestExchangesThatAreRefused"}},
	"S12": {
		what:      "limits before and after decompression, and before sending",
		websocket: []string{"opampserver/TestFramesThatCloseTheConnection", "opampserver/TestUnsendableRepliesAreDroppedAndCounted", "opampserver/TestHeaderThatAnnouncesTheLimitCostsNothing"},
		http:      []string{"opampserver/TestExchangesThatAreRefused", "opampserver/TestUnsendableReplyIsAServerError", "opampserver/TestBodiesAreChargedToTheBudget"},
	},
	"S13": {what: "reads gzip, and compresses where that is welcome and worth it", http: []string{"opampserver/TestExchange", "opampserver/TestReplyIsCompressedWhereThatIsWelcomeAndWorthIt"}},
	"S14": {what: "Content-Type and method decide", http: []string{"opampserver/TestExchange", "opampserver/TestExchangesThatAreRefused", "opampserver/TestOtherMethodsAreRefused"}},
	"S15": {what: "401 before the upgrade", both: []string{"TestAuthenticatorStandsBeforeBothListeners", "TestWrongCredentialsOfAgentsAreBoundedAndRightOnesPass"}},
	"S16": {
		what: "sends away whom it has no room for, until a time that differs",
		both: []string{"TestHostileNumbersOfInstanceUIDs"}, websocket: []string{"opampserver/TestConnectionsAreBoundedBeforeTheUpgrade"}, http: []string{"opampserver/TestExchangesAreBounded"},
	},
	"S17": {what: "says why it closes", websocket: []string{"opampserver/TestShutdownSaysGoingAway", "opampserver/TestCloseReachesAPeerInTheMiddleOfItsMessage"}},
	"S18": {
		what: "knows who said goodbye, whose connection broke, and who misses polls", both: []string{"TestHostileGoodbyes", "fleet/TestScenarios"},
		websocket: []string{"TestAnAgentThatIsCutOffIsLostAndOneThatSaysGoodbyeIsNot"}, http: []string{"TestSilenceIsNoticed"},
	},
	"S19": {what: "sends nothing that an agent does not take", both: []string{"TestFleetNeverOffersAnything", "TestServerNeverOffersAnything", "fleet/TestWhatCannotBePosted"}},
	"S20": {what: "any message is a sign of life; who promised none is not missed", both: []string{"fleet/TestScenarios", "fleet/TestHeartbeatMovesLastSeenAndNothingElse"}},
	"S21": {what: "offers no configuration, packages or settings", both: []string{"TestFleetNeverOffersAnything", "TestServerNeverOffersAnything"}},
	"S22": {what: "signs no certificates, and does not say so", both: []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports", "TestFleetNeverOffersAnything"}},
	"S23": {what: "custom messages of any capability are kept or left", both: []string{"TestCustomMessageReachesAnAgentOnAWebSocket", "TestCustomMessageReachesAnAgentThatPolls", "fleet/TestFloodOfMessagesIsBounded"}},
}

// hostilities are what a peer may do to a server.
var hostilities = map[string]proof{
	"1": {what: "frames that break the rules", websocket: []string{
		"opampserver/TestFramesThatCloseTheConnection", "opampserver/TestPingFloodIsAnsweredAndHurtsNobodyElse", "opampserver/TestFragmentsAreJoinedAndControlFramesMayComeBetween",
		"opampserver/TestManyFragmentsAreNotCopiedForEachOther", "opampserver/TestCloseFramesAreAnsweredInKind", "opampserver/TestHandshakesThatAreRefused",
	}},
	"2": {what: "headers of a message", websocket: []string{"opampserver/TestMalformedMessagesAreAnsweredWithWhatIsWrong"}, http: []string{"opampserver/TestExchangesThatAreRefused"}},
	"3": {what: "what is no protobuf, or another", both: []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports"}},
	"4": {what: "instance UIDs of every kind, and many of them", both: []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports", "TestHostileNumbersOfInstanceUIDs"}},
	"5": {what: "counts of every kind", both: []string{"TestHostileCountsAreNoPingPong"}},
	"6": {what: "deep nesting", both: []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports", "fleet/TestDeepAndWideReportsAreCut"}},
	"7": {
		what: "size in every form", both: []string{"opampserver/TestTooManyElementsAreTooLarge", "opampwire/TestMessageOfManyElementsIsRefusedBeforeItIsDecoded", "fleet/TestDeepAndWideReportsAreCut", "fleet/TestMemoryOfAllAgentsIsBounded"},
		websocket: []string{"opampserver/TestMessagesOfEverySize", "opampserver/TestFramesThatCloseTheConnection", "opampserver/TestBytesInFlightAreBoundedOverAllConnections"},
		http:      []string{"opampserver/TestExchangesThatAreRefused", "opampserver/TestBodiesAreChargedToTheBudget", "opampwire/TestGunzipStopsReadingAtTheLimit"},
	},
	"8": {what: "HTTP that is odd, wrong or slow", http: []string{
		"opampserver/TestExchangesThatAreRefused", "opampserver/TestOtherMethodsAreRefused", "opampserver/TestBodiesThatAreRefusedAreNotWaitedFor",
		"opampserver/TestChunkedBodyWithoutEndStopsAtTheLimit", "opampserver/TestBodyThatTricklesHasADeadline", "opampserver/TestBodyThatEndsEarly",
		"opampserver/TestPipelinedExchangesAreAnsweredInOrder", "TestHeadsAreBounded", "TestHeadsThatTrickleHaveADeadline",
	}},
	"9": {what: "never reads, stays silent, vanishes, comes in storms", websocket: []string{
		"opampserver/TestPeerThatNeverReadsIsClosedAndDelaysNobody", "opampserver/TestSilenceAfterTheHandshakeEndsAtItsDeadline", "opampserver/TestSilentPeerIsPingedOnceAndThenClosed",
		"opampserver/TestResetEndsTheConnectionQuietly", "opampserver/TestStormOfConnectionsLeavesNothingBehind", "opampserver/TestConnectionsAreBoundedBeforeTheUpgrade",
	}},
	"10": {what: "two with one instance UID; goodbyes of every kind", both: []string{"TestTwoAgentsWithOneInstanceUIDAreToldApart", "TestAQuickReconnectIsNoDuplicate", "TestHostileGoodbyes"}},
	"11": {what: "capabilities and hashes that make no sense", both: []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports", "TestHostileHashesPoisonNobody", "fleet/TestCapabilitiesWithoutEndAreCut"}},
	"12": {what: "texts for those who look, and secrets", both: []string{"TestHostileTextsAreHarmless", "TestNoSecretOfAForeignAgentIsKeptShownOrLogged", "fleetui/TestHostileTextIsHarmless"}},
	"13": {what: "requests that nobody offered; floods of custom messages", both: []string{"TestHostileMessagesAreAnsweredAlikeOverBothTransports", "fleet/TestFloodOfMessagesIsBounded", "fleet/TestHugeMessageLeavesItsBeginning"}},
}

// flaws are what other servers for OpAMP were found to do, and this one does not.
var flaws = map[string]proof{
	"writes": {what: "heartbeats are written, each or some", both: []string{
		"TestHeartbeatsCauseNoStatement", "fleetstore/TestAnUnchangedHeartbeatCausesNoStatement",
	}},
	"reads": {what: "beyond the size of a cache each message is a read", both: []string{"fleetstore/TestThousandsOfAgentsAreNotReadAgain"}},
	"queues": {what: "when many connections break at once, some of them are forgotten", both: []string{
		"fleet/TestWhenThousandsOfConnectionsBreakAtOnceEachIsTakenIn", "TestAThousandConnectionsThatBreakAtOnceAreAllLost",
	}},
	"logs":   {what: "a message is worth a line in the log", both: []string{"TestMessagesAreNotLogged", "opampserver/TestOneLogLineAMinuteForEachReason", "TestRefusalsAreLoggedOnceAMinute"}},
	"totals": {what: "totals are those of a page", both: []string{"fleetapi/TestTotalsAreExactBeyondAnyPage", "fleetui/TestPagesCountEverybody"}},
	"clones": {what: "a message costs more the more agents there are", both: []string{
		"fleet/TestAMessageCostsTheSameHoweverManyAgentsThereAre", "fleetsearch/TestAHeartbeatIsNoWork", "fleet/TestHeartbeatMovesLastSeenAndNothingElse",
	}},
	"bodies": {what: "the config is written again and again, though it is the same", both: []string{"fleetstore/TestConformWritesWhatChangedSince", "fleet/TestEqualContentIsKeptOnce"}},
	"lists":  {what: "asking whether the server is there lists all agents", both: []string{"fleetapi/TestAProbeWaitsForNoQuestion"}},
	"pages": {what: "each browser has the whole fleet sent again and again", both: []string{
		"fleetapi/TestAStreamOfVersionsOnly", "fleetapi/TestStreamsTellAtTheSameMoment", "fleetui/TestBrowsersShareWhatBringsThemUpToDate",
		"fleetui/TestWhatBrowsersFollowTakesAQuarterOfACoreAtMost",
	}},
	"sizes": {
		what:      "messages of any size, before or after decompression",
		websocket: []string{"opampserver/TestFramesThatCloseTheConnection", "opampserver/TestHeaderThatAnnouncesTheLimitCostsNothing", "opampserver/TestBytesInFlightAreBoundedOverAllConnections"},
		http:      []string{"opampserver/TestExchangesThatAreRefused", "opampserver/TestChunkedBodyWithoutEndStopsAtTheLimit", "opampwire/TestGunzipStopsReadingAtTheLimit"},
	},
	"half-open":    {what: "a peer that vanished stays connected", websocket: []string{"opampserver/TestSilentPeerIsPingedOnceAndThenClosed", "opampserver/TestSilenceAfterTheHandshakeEndsAtItsDeadline"}, http: []string{"TestSilenceIsNoticed"}},
	"heads":        {what: "the head of a request may take for ever", both: []string{"TestHeadsThatTrickleHaveADeadline", "TestHeadsAreBounded"}},
	"stop":         {what: "stopping leaves connections open", both: []string{"opampserver/TestShutdownClosesEveryWebSocketAndRefusesNewcomers", "opampserver/TestShutdownSaysGoingAway", "TestShutdownWithPeersOfEveryKind"}},
	"goroutines":   {what: "a connection at rest is more than one goroutine", websocket: []string{"opampserver/TestAConnectionAtRestIsOneGoroutine", "opampserver/TestOutboxGoesWithItsWriter"}},
	"capabilities": {what: "custom capabilities are fixed at the start, the same for all", both: []string{"fleet/TestCustomCapabilitiesAreEachAgentsOwnAndMayChange"}},
	"polls":        {what: "a poll counts as a connection that comes and goes", http: []string{"fleet/TestPollsAreNoConnections"}},
	"gaps":         {what: "a gap in the count is not noticed", both: []string{"fleet/TestScenarios", "TestHostileCountsAreNoPingPong"}},
	"dead":         {what: "who is gone is deleted, or gone because the server was", both: []string{"TestThePageIsRightAtOnceAfterARestart", "fleet/TestScenarios"}},
}

// A proof that was renamed or deleted is none.
func TestEveryDutyHostilityAndFlawHasItsProof(t *testing.T) {
	there := opamptest.TestsIn(t, map[string]string{
		"":             ".",
		"opampserver/": "../../internal/opampserver",
		"opampwire/":   "../../internal/opampwire",
		"fleet/":       "../../internal/fleet",
		"fleetui/":     "../../internal/fleet/fleetui",
		"fleetapi/":    "../../internal/fleet/fleetapi",
		"fleetsearch/": "../../internal/fleet/fleetsearch",
		"fleetstore/":  "../../internal/fleet/fleetstore",
	})
	require.Len(t, duties, 23)
	require.Len(t, hostilities, 13)
	for _, proofs := range []map[string]proof{duties, hostilities, flaws} {
		for row, p := range proofs {
			require.NotEmpty(t, len(p.both)+len(p.websocket)+len(p.http), row)
			for _, names := range [][]string{p.both, p.websocket, p.http} {
				for _, name := range names {
					require.True(t, there[name], "%s, %s: there is no %s", row, p.what, name)
				}
			}
		}
	}
}
