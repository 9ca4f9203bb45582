// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"crypto/sha1" //nolint:gosec // the WebSocket handshake's own (RFC 6455 section 1.3)
	"encoding/base64"
)

// acceptKey answers a WebSocket handshake.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}
