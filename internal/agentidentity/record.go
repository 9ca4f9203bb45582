// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentidentity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// maxRecord bounds what is read back, in bytes. A record takes about a hundred.
const maxRecord = 4 << 10

var errBadRecord = errors.New("not a record of an instance UID")

// record is what is kept of an identity.
type record struct {
	uid opampwire.InstanceUID
	// hostID is that of the machine where it was written, empty if that was not known.
	// On another machine the record is a copy: two collectors would share one UID.
	hostID string
}

// recordJSON is the written form.
type recordJSON struct {
	InstanceUID string `json:"instance_uid"`
	HostID      string `json:"host_id,omitempty"`
}

func (r record) encode() []byte {
	data, err := json.Marshal(recordJSON{InstanceUID: r.uid.String(), HostID: r.hostID})
	if err != nil {
		panic(err) // two strings
	}
	return append(data, '\n')
}

// decodeRecord also takes a UID alone, as a person or a script would write it.
func decodeRecord(data []byte) (record, error) {
	if len(data) > maxRecord {
		return record{}, fmt.Errorf("%w: more than %d bytes", errBadRecord, maxRecord)
	}
	text := strings.TrimSpace(string(data))
	written := recordJSON{InstanceUID: text}
	if strings.HasPrefix(text, "{") {
		written.InstanceUID = ""
		if err := json.Unmarshal(data, &written); err != nil {
			return record{}, fmt.Errorf("%w: %w", errBadRecord, err)
		}
	}
	uid, err := opampwire.ParseInstanceUID(written.InstanceUID)
	if err != nil {
		return record{}, fmt.Errorf("%w: %w", errBadRecord, err)
	}
	return record{uid: uid, hostID: written.HostID}, nil
}
