// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import "github.com/otel-fleetview/fleetview/internal/wsframe"

// What of a frame this package speaks of often.
type (
	opcode      = wsframe.Opcode
	frameHeader = wsframe.Header
)

const (
	opContinuation = wsframe.OpContinuation
	opText         = wsframe.OpText
	opBinary       = wsframe.OpBinary
	opClose        = wsframe.OpClose
	opPing         = wsframe.OpPing
	opPong         = wsframe.OpPong

	closeNormal        = wsframe.CloseNormal
	closeGoingAway     = wsframe.CloseGoingAway
	closeProtocol      = wsframe.CloseProtocol
	closeUnsupported   = wsframe.CloseUnsupported
	closeNoStatus      = wsframe.CloseNoStatus
	closeInvalidData   = wsframe.CloseInvalidData
	closePolicy        = wsframe.ClosePolicy
	closeTooBig        = wsframe.CloseTooBig
	closeInternalError = wsframe.CloseInternalError
	closeTryAgainLater = wsframe.CloseTryAgainLater

	opcodeBits        = wsframe.OpcodeBits
	maxControlPayload = wsframe.MaxControlPayload
	maxInHeader       = wsframe.MaxMaskedHeader
	maxOutHeader      = wsframe.MaxHeader
)

var errFrame = wsframe.ErrFrame

// parseHeader reads the header of a client's frame.
func parseHeader(b []byte) (frameHeader, int, error) {
	return wsframe.ParseHeader(b, wsframe.FromClient)
}

func unmask(b []byte, mask [4]byte) { wsframe.Mask(b, mask) }

// seal makes a frame of ours of a payload behind maxOutHeader bytes of room.
func seal(buf []byte, op opcode) []byte { return wsframe.Seal(buf, op) }

func closePayload(code uint16, text string) []byte { return wsframe.ClosePayload(code, text) }

func parseClose(payload []byte) (uint16, error) { return wsframe.ParseClose(payload) }
