// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"cmp"
	"slices"
	"strings"
)

const (
	minTokenLength = 16   // bytes of the shortest token that is known by its form
	maxTokenTail   = 4096 // bytes that are read to know a token; all of it is masked
)

// tokenForm is how tokens of one issuer look: a prefix and what follows it.
type tokenForm struct {
	prefixes []string
	tail     int    // characters after the prefix, at least
	chars    class  // what they are
	check    uint8  // what else must hold
	prefix   string // the one of prefixes that an entry of the index is for
}

const (
	exactTail   uint8 = 1 << iota // exactly tail characters follow
	mixedTail                     // the prefix could begin a word: a long run of digits and letters or of both cases must follow
	privateTail                   // a PEM block in base64: only a private key counts
)

// tokenForms begin with the prefixes that issuers document for their tokens, so
// that scanners of code find them.
var tokenForms = indexForms([]tokenForm{
	{prefixes: []string{"AKIA", "ASIA", "ABIA", "ACCA"}, tail: 16, chars: upper | digit, check: exactTail}, // AWS access key ids

	{prefixes: []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}, tail: 30, chars: alnum},
	{prefixes: []string{"github_pat_", "glpat-", "gldt-", "glrt-", "glsoat-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-"}, tail: 16, chars: nameChar | dot},
	{prefixes: []string{"dckr_pat_", "dckr_oat_", "npm_", "pypi-", "rubygems_"}, tail: 16, chars: nameChar, check: mixedTail},

	{prefixes: []string{"xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxc-", "xoxd-", "xoxe.", "xoxe-", "xapp-"}, tail: 10, chars: nameChar | dot},
	{prefixes: []string{"AIza"}, tail: 30, chars: nameChar},
	{prefixes: []string{"ya29.", "GOCSPX-", "1//0"}, tail: 20, chars: nameChar | dot},
	{prefixes: []string{"sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"}, tail: 16, chars: alnum},
	{prefixes: []string{"SG."}, tail: 32, chars: nameChar | dot, check: mixedTail},
	{prefixes: []string{"SK"}, tail: 32, chars: digit | lower, check: exactTail | mixedTail}, // Twilio
	{prefixes: []string{"shpat_", "shpss_", "shppa_", "shpca_"}, tail: 30, chars: alnum},
	{prefixes: []string{"sq0atp-", "sq0csp-"}, tail: 20, chars: nameChar},

	{prefixes: []string{"dop_v1_", "doo_v1_", "dor_v1_"}, tail: 32, chars: alnum}, // DigitalOcean
	{prefixes: []string{"hvs.", "hvb.", "hvr."}, tail: 20, chars: nameChar | dot}, // Vault
	{prefixes: []string{"dp.pt.", "dp.st.", "dp.ct.", "dp.sa."}, tail: 32, chars: nameChar | dot},
	{prefixes: []string{"ATATT3", "ATCTT3", "ATBB"}, tail: 30, chars: anyToken}, // Atlassian
	{prefixes: []string{"dapi"}, tail: 32, chars: digit | lower | joiner, check: mixedTail},
	{prefixes: []string{"sk-", "gsk_", "hf_", "r8_", "pplx-", "xai-"}, tail: 20, chars: nameChar, check: mixedTail},
	{prefixes: []string{"lin_api_", "ntn_", "figd_", "PMAK-", "HRKU-", "nfp_", "tskey-", "sbp_", "sb_secret_", "pscale_tkn_", "pscale_pw_", "pscale_oauth_", "AVNS_", "CFPAT-", "pul-"}, tail: 16, chars: nameChar, check: mixedTail},
	{prefixes: []string{"secret_"}, tail: 40, chars: alnum, check: mixedTail},
	{prefixes: []string{"AGE-SECRET-KEY-1"}, tail: 40, chars: upper | digit},

	{prefixes: []string{"NRAK-", "NRII-", "NRIQ-", "NRJS-", "NRSP-", "NRRA-"}, tail: 16, chars: nameChar},                                     // New Relic
	{prefixes: []string{"hcaik_", "hcaic_", "hcalk_", "hcbik_", "hcbic_", "hcblk_", "hcxik_", "hcxic_", "hcxlk_"}, tail: 20, chars: nameChar}, // Honeycomb
	{prefixes: []string{"dt0"}, tail: 40, chars: nameChar | dot, check: mixedTail},                                                            // Dynatrace
	{prefixes: []string{"glc_", "glsa_", "sntrys_", "sntryu_"}, tail: 20, chars: anyToken},                                                    // Grafana, Sentry
	{prefixes: []string{"cxtp_", "cxth_", "cxup_"}, tail: 20, chars: alnum},                                                                   // Coralogix
	{prefixes: []string{"xaat-", "xapt-", "phx_", "phc_", "ddapp_", "ddapi_"}, tail: 20, chars: nameChar, check: mixedTail},
	{prefixes: []string{"sdk-", "mob-"}, tail: 36, chars: nameChar, check: exactTail | mixedTail}, // LaunchDarkly

	{prefixes: []string{"eyJ"}, tail: 17, chars: anyToken}, // a JWT, or other JSON in base64
	{prefixes: []string{base64PEM}, tail: 20, chars: alnum | base64Mark, check: privateTail},
	{prefixes: []string{"$2a$", "$2b$", "$2y$", "$apr1$", "$argon2", "$5$", "$6$"}, tail: 20, chars: anyToken | dollar}, // hashes of passwords
})

// indexForms sorts the forms by the first byte of their prefixes, longer prefixes first.
func indexForms(forms []tokenForm) (index [256][]tokenForm) {
	for _, f := range forms {
		for _, f.prefix = range f.prefixes {
			index[f.prefix[0]] = append(index[f.prefix[0]], f)
		}
	}
	for _, forms := range &index {
		slices.SortStableFunc(forms, func(a, b tokenForm) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	}
	return index
}

// end is where the token ends that begins at i, or -1.
func (f *tokenForm) end(s string, i int) int {
	if !strings.HasPrefix(s[i:], f.prefix) || f.check&mixedTail != 0 && i > 0 && isClass(s[i-1], nameChar) {
		return -1
	}
	from := i + len(f.prefix)
	most := min(len(s), from+maxTokenTail)
	end := runEnd(s[:most], from, f.chars)
	for end > from && isClass(s[end-1], dot) {
		end-- // the end of a sentence
	}
	switch {
	case end-from < f.tail, f.check&exactTail != 0 && end-from != f.tail:
		return -1
	case f.check&mixedTail != 0 && !isMixed(s[from:end]):
		return -1
	case f.check&privateTail != 0:
		if _, private := isEncodedPEM(s[i:end]); !private {
			return -1
		}
	}
	if end == most {
		return runEnd(s, end, f.chars)
	}
	return end
}

func isMixed(s string) bool {
	t := textureOf(s)
	return t.longest >= 16 && (t.has&digit != 0 && t.has&letter != 0 || t.has&letter == letter)
}

// tokens masks what is a token by its form: those of known issuers, JWTs, bots of
// Telegram, client secrets of Azure.
func (sc *scanner) tokens(s string) string {
	r := rewriter{src: s}
	for i := 0; i+minTokenLength <= len(s); {
		from, end := i, -1
		switch b := s[i]; {
		case tokenForms[b] != nil && (i == 0 || !isClass(s[i-1], alnum)):
			end = knownTokenEnd(s, i)
		case isClass(b, digit) && (i == 0 || !isClass(s[i-1], alnum)):
			end = botTokenEnd(s, i)
		case b == '~':
			from, end = azureSecret(s, i)
		}
		if end < 0 || from < r.done {
			i++
			continue
		}
		r.replace(from, end, sc.hide(s[from:end]))
		i = end
	}
	return r.String()
}

func knownTokenEnd(s string, i int) int {
	forms := tokenForms[s[i]]
	for n := range forms {
		if end := forms[n].end(s, i); end >= 0 {
			return end
		}
	}
	if isClass(s[i], digit) {
		return botTokenEnd(s, i)
	}
	return -1
}

// botTokenEnd knows 8 to 10 digits, a colon and 35 characters.
func botTokenEnd(s string, i int) int {
	colon := runEnd(s[:min(len(s), i+11)], i, digit)
	if colon-i < 8 || colon-i > 10 || colon >= len(s) || s[colon] != ':' {
		return -1
	}
	end := runEnd(s[:min(len(s), colon+64)], colon+1, nameChar)
	if end-colon-1 != 35 {
		return -1
	}
	return end
}

// azureSecret knows three characters, a digit, Q~ and 31 to 34 characters around
// the tilde at i.
func azureSecret(s string, i int) (from, end int) {
	from = i - len("abc8Q")
	if from < 0 || s[i-1] != 'Q' || !isClass(s[i-2], digit) || !allOf(s[from:i], urlChar) {
		return 0, -1
	}
	end = runEnd(s[:min(len(s), i+64)], i+1, urlChar)
	if tail := end - i - 1; tail < 31 || tail > 40 {
		return 0, -1
	}
	return from, end
}
