// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// maxUIDRecord bounds what is read back, in bytes. A record takes about a hundred.
const maxUIDRecord = 4 << 10

var errBadRecord = errors.New("not a record of an instance UID")

// uidRecord is what is kept of an identity.
type uidRecord struct {
	uid opampwire.InstanceUID
	// hostID is that of the machine where it was written, empty if that was not known.
	// On another machine the record is a copy: two collectors would share one UID.
	hostID string
}

// uidRecordJSON is the written form.
type uidRecordJSON struct {
	InstanceUID string `json:"instance_uid"`
	HostID      string `json:"host_id,omitempty"`
}

func (r uidRecord) encode() []byte {
	data, err := json.Marshal(uidRecordJSON{InstanceUID: r.uid.String(), HostID: r.hostID})
	if err != nil {
		panic(err) // two strings
	}
	return append(data, '\n')
}

// decodeUIDRecord also takes a UID alone, as a person or a script would write it.
func decodeUIDRecord(data []byte) (uidRecord, error) {
	if len(data) > maxUIDRecord {
		return uidRecord{}, fmt.Errorf("%w: more than %d bytes", errBadRecord, maxUIDRecord)
	}
	text := strings.TrimSpace(string(data))
	written := uidRecordJSON{InstanceUID: text}
	if strings.HasPrefix(text, "{") {
		written.InstanceUID = ""
		if err := json.Unmarshal(data, &written); err != nil {
			return uidRecord{}, fmt.Errorf("%w: %w", errBadRecord, err)
		}
	}
	uid, err := opampwire.ParseInstanceUID(written.InstanceUID)
	if err != nil {
		return uidRecord{}, fmt.Errorf("%w: %w", errBadRecord, err)
	}
	return uidRecord{uid: uid, hostID: written.HostID}, nil
}
