// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
)

// authSchemes come before a credential in an Authorization header, and wherever
// one is quoted.
var authSchemes = setOf("apikey", "api-key", "basic", "bearer", "bot", "negotiate", "ntlm", "sharedkey", "sharedkeylite",
	"splunk", "ssws", "token")

const maxAuthScheme = 13 // bytes of the longest scheme

// schemes masks the credential behind an authentication scheme: Bearer x, Basic x.
func (sc *scanner) schemes(s string) string {
	r := rewriter{src: s}
	for i := 0; i < len(s); {
		space := strings.IndexByte(s[i:], ' ')
		if space < 0 {
			break
		}
		space += i
		i = space + 1
		from := schemeWord(s, space)
		if from < 0 {
			continue
		}
		begin := i
		for begin < len(s) && s[begin] == ' ' {
			begin++
		}
		end := credentialEnd(s, begin)
		whole := sc.config && from == 0 && end == len(s)
		if isCredential(strings.ToLower(s[from:space]), s[begin:end], whole) {
			r.replace(begin, end, sc.hide(s[begin:end]))
		}
		i = max(end, i)
	}
	return r.String()
}

// schemeWord is where the authentication scheme begins that ends at end, or -1.
func schemeWord(s string, end int) int {
	from := end
	for from > 0 && end-from <= maxAuthScheme && (isClass(s[from-1], letter) || s[from-1] == '-') {
		from--
	}
	if from == end || !isIn(authSchemes, strings.ToLower(s[from:end])) {
		return -1
	}
	return from
}

func credentialEnd(s string, i int) int {
	for i < len(s) && !isSpace(s[i]) && !isQuote(s[i]) && s[i] != ',' && s[i] != ';' && s[i] != '\\' && s[i] != ')' {
		i++
	}
	return i
}

// isCredential tells the credential behind a scheme from the next word of a
// sentence. Where scheme and credential are the whole value, any word is one but
// those that speak of authentication itself.
func isCredential(scheme, s string, whole bool) bool {
	if saysNothing(s) || strings.Contains(s, `="`) || strings.HasPrefix(s, Mask) {
		return false
	}
	if strings.HasSuffix(s, "=") && strings.Count(s, "=") == 1 && isProse(strings.TrimSuffix(s, "=")) {
		return false // Bearer realm="x"
	}
	switch scheme {
	case "bearer", "basic", "ssws", "negotiate":
		if whole {
			return !isIn(schemeTalk, strings.ToLower(s))
		}
		return isTokenLike(s)
	case "token", "bot", "ntlm":
		return looksRandom(s) || len(s) >= 12 && isTokenLike(s) && textureOf(s).turns >= 3 && !strings.ContainsAny(s, "/:=")
	default:
		return isTokenLike(s)
	}
}

var schemeTalk = setOf("access", "auth", "authentication", "authorization", "authenticator", "credentials", "scheme",
	"setup", "stats", "token", "tokens", "type")
