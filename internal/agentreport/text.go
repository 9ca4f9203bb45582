// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package agentreport

import (
	"strings"
	"unicode/utf8"
)

const ellipsis = "…"

// clip returns s as valid UTF-8 of at most limit bytes. Invalid bytes become
// U+FFFD, because a protobuf string with any is refused by the receiver together
// with the whole message. A cut falls between runes and is marked by an ellipsis.
func clip(s string, limit int) string {
	if len(s) <= limit && utf8.ValidString(s) {
		return s
	}
	// One byte more than fits, so that the cut after the repair still shows.
	s = strings.ToValidUTF8(head(s, limit+utf8.UTFMax), "\uFFFD")
	if len(s) <= limit {
		return s
	}
	return head(s, limit-len(ellipsis)) + ellipsis
}

// head is the longest prefix of s within limit bytes that ends between runes.
func head(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for range utf8.UTFMax - 1 {
		if limit <= 0 || utf8.RuneStart(s[limit]) {
			break
		}
		limit--
	}
	return s[:max(limit, 0)]
}
