// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"encoding/base64"
	"strings"
)

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	pemDash  = "-----"

	maxPEMLabel = 64
)

// privateKeys masks PEM blocks that hold one, or what else opens something;
// certificates and public keys stay. A
// block without an end goes on to the end of the text.
func (sc *scanner) privateKeys(s string) string {
	r := rewriter{src: s}
	for i := 0; ; {
		begin := strings.Index(s[i:], pemBegin)
		if begin < 0 {
			return r.String()
		}
		begin += i
		i = begin + len(pemBegin)
		label := s[i:min(i+maxPEMLabel, len(s))]
		if cut := strings.Index(label, pemDash); cut >= 0 {
			label = label[:cut]
		}
		if !isSecretLabel(label) {
			continue
		}
		end := pemBlockEnd(s, i)
		r.replace(begin, end, sc.hide(s[begin:end]))
		i = end
	}
}

func isSecretLabel(label string) bool {
	for _, word := range []string{"PRIVATE", "SECRET", "SEED", "JWT", "Static key"} {
		if strings.Contains(label, word) {
			return true
		}
	}
	return false
}

func pemBlockEnd(s string, from int) int {
	end := strings.Index(s[from:], pemEnd)
	if end < 0 {
		return len(s)
	}
	end += from + len(pemEnd)
	last := strings.Index(s[end:min(end+maxPEMLabel, len(s))], pemDash)
	if last < 0 {
		return len(s)
	}
	return end + last + len(pemDash)
}

// base64PEM is "-----BEGIN " in base64, as far as it does not depend on what follows.
const base64PEM = "LS0tLS1CRUdJTi"

// isEncodedPEM reports whether s is a PEM block in base64, and whether it holds a
// private key.
func isEncodedPEM(s string) (pem, private bool) {
	if !strings.HasPrefix(s, base64PEM) {
		return false, false
	}
	head := s[:min(len(s), 4*16)]
	plain, err := base64.StdEncoding.DecodeString(head[:len(head)/4*4])
	return true, err != nil || strings.Contains(string(plain), "PRIVATE")
}
