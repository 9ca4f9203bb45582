// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"unicode"
)

// maxAlike bounds an error without what differs, in bytes.
const maxAlike = 256

// AlikeError is an error without what differs from one agent to the next though the error is the same: every word with
// a digit in it, such as an address, a port, an identifier or a time, is #. Errors of many agents are grouped by it.
func AlikeError(text string) string {
	words := strings.Fields(head(text, 4*maxAlike))
	for i, word := range words {
		core := strings.TrimFunc(word, isPunctuation)
		if strings.IndexFunc(core, unicode.IsDigit) >= 0 {
			words[i] = strings.Replace(word, core, "#", 1)
		}
	}
	return strings.Clone(head(strings.Join(words, " "), maxAlike))
}

func isPunctuation(r rune) bool { return strings.ContainsRune(`"'(),;:.`+"`", r) }
