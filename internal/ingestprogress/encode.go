// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package ingestprogress

import (
	"encoding/json"
	"math"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
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

// maxEncodedText bounds each text of a message, in bytes. A key of S3 has 1,024 at most.
const maxEncodedText = 1024

// EncodeStatus is the data of a message of [TypeStatus]: a Progress in the words of contrib's
// receiver, which knows a time that is being read and three states. The time is that of the
// position, or the start where there is none yet; a completed ingest is at its end.
func EncodeStatus(p Progress) ([]byte, error) {
	logs := plog.NewLogs()
	record := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.Body().SetStr(statusBody)
	at, status := max(p.Position, p.Start), ingestStatusIngesting
	switch p.State {
	case StateCompleted:
		at, status = p.End, ingestStatusCompleted
	case StateFailed:
		status = ingestStatusFailed
	}
	record.SetTimestamp(pcommon.Timestamp(at))
	attributes := record.Attributes()
	attributes.PutStr(attributeTelemetryType, p.TelemetryType)
	attributes.PutStr(attributeIngestStatus, status)
	attributes.PutInt(attributeStartTime, p.Start)
	attributes.PutInt(attributeEndTime, p.End)
	if status == ingestStatusFailed && p.Error != "" {
		attributes.PutStr(attributeFailure, cut(p.Error))
	}
	return (&plog.ProtoMarshaler{}).MarshalLogs(logs)
}

// EncodeProgress is the data of a message of [TypeProgress]. Numbers that JSON does not know are
// told as unknown, and texts are cut to 1,024 bytes.
func EncodeProgress(p Progress) ([]byte, error) {
	p.Percent, p.ETASeconds = known(p.Percent, -1), known(p.ETASeconds, -1)
	p.ObjectsPerSecond, p.BytesPerSecond = known(p.ObjectsPerSecond, 0), known(p.BytesPerSecond, 0)
	p.Receiver, p.Key, p.Error = cut(p.Receiver), cut(p.Key), cut(p.Error)
	return json.Marshal(p)
}

func known(n, otherwise float64) float64 {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return otherwise
	}
	return n
}

// cut shortens a text between two characters.
func cut(text string) string {
	if len(text) <= maxEncodedText {
		return text
	}
	end := maxEncodedText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
