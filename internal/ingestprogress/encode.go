// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingestprogress

import (
	"encoding/json"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of the fields that are written and not read.
const (
	fieldResource = 1 // of ResourceLogs
	fieldScope    = 1 // of ScopeLogs
	fieldBody     = 5 // of LogRecord
)

// Names in a message of TypeStatus, those of contrib's receiver.
const (
	statusBody             = "status"
	attributeTelemetryType = "telemetry_type"
	attributeIngestStatus  = "ingest_status"
	attributeStartTime     = "start_time"
	attributeEndTime       = "end_time"
	attributeFailure       = "failure_message"
)

// Values of ingest_status, those of contrib's receiver.
const (
	ingestStatusIngesting = "ingesting"
	ingestStatusFailed    = "failed"
	ingestStatusCompleted = "completed"
)

// EncodeStatus is the data of a message of [TypeStatus]: a Progress in the words of contrib's
// receiver, which knows a time that is being read and three states. The time is that of the
// position, or the start where there is none yet; a completed ingest is at its end.
func EncodeStatus(p Progress) ([]byte, error) {
	at, status := max(p.Position, p.Start), ingestStatusIngesting
	switch p.State {
	case StateCompleted:
		at, status = p.End, ingestStatusCompleted
	case StateFailed:
		status = ingestStatusFailed
	}
	var record []byte
	record = protowire.AppendTag(record, fieldTime, protowire.Fixed64Type)
	record = protowire.AppendFixed64(record, uint64(at))
	record = appendMessage(record, fieldBody, textValue(statusBody))
	record = appendAttribute(record, attributeTelemetryType, textValue(p.TelemetryType))
	record = appendAttribute(record, attributeIngestStatus, textValue(status))
	record = appendAttribute(record, attributeStartTime, intValue(p.Start))
	record = appendAttribute(record, attributeEndTime, intValue(p.End))
	if status == ingestStatusFailed && p.Error != "" {
		record = appendAttribute(record, attributeFailure, textValue(cut(p.Error, maxError)))
	}
	scope := appendMessage(appendMessage(nil, fieldScope, nil), fieldLogRecords, record)
	resource := appendMessage(appendMessage(nil, fieldResource, nil), fieldScopeLogs, scope)
	return appendMessage(nil, fieldResourceLogs, resource), nil
}

func appendMessage(to []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, field, protowire.BytesType), message)
}

func appendAttribute(record []byte, name string, value []byte) []byte {
	return appendMessage(record, fieldAttributes, appendMessage(appendMessage(nil, fieldKey, []byte(name)), fieldValue, value))
}

func textValue(text string) []byte { return appendMessage(nil, fieldString, []byte(text)) }

func intValue(number int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, fieldInt, protowire.VarintType), uint64(number))
}

// EncodeProgress is the data of a message of [TypeProgress]. Numbers that JSON does not know are
// told as unknown, and texts are cut to what a reader keeps of them.
func EncodeProgress(p Progress) ([]byte, error) {
	p.Percent, p.ETASeconds = finite(p.Percent, -1), finite(p.ETASeconds, -1)
	p.ObjectsPerSecond, p.BytesPerSecond = finite(p.ObjectsPerSecond, 0), finite(p.BytesPerSecond, 0)
	p.Receiver, p.Key, p.Error = cut(p.Receiver, maxName), cut(p.Key, maxKey), cut(p.Error, maxError)
	return json.Marshal(p)
}

func finite(n, otherwise float64) float64 {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return otherwise
	}
	return n
}
