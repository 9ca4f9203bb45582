// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
)

const (
	schemeSeparator = "://"
	maxScheme       = 32  // bytes of a URL's scheme
	maxUserinfo     = 512 // bytes that are read before and after an @ outside of a URL
)

// urls masks in every URL of a text, whatever its scheme: the password, or a user
// that is a token; parameters that are named like secrets; the parts of a path by
// which webhooks know who calls. The rest stays readable.
func (sc *scanner) urls(s string) string {
	r := rewriter{src: s}
	sep := strings.Index(s, schemeSeparator)
	for sep >= 0 {
		from := sep + len(schemeSeparator)
		next := strings.Index(s[from:], schemeSeparator)
		limit := len(s)
		if next >= 0 {
			next += from
			limit = schemeStart(s, next)
		}
		scheme := schemeStart(s, sep)
		end := urlEnd(s[:limit], from)
		if sc.config || scheme > 0 && isQuote(s[scheme-1]) {
			end = passwordWithSpaces(s[:limit], from, end)
		}
		r.replace(from, end, sc.url(strings.ToLower(s[scheme:sep]), s[from:end]))
		sep = next
	}
	return r.String()
}

// schemeStart is where the scheme begins that ends at sep.
func schemeStart(s string, sep int) int {
	i := sep
	for i > 0 && sep-i < maxScheme && (isClass(s[i-1], alnum|dot) || s[i-1] == '+' || s[i-1] == '-') && s[i-1] != '%' {
		i--
	}
	return i
}

func urlEnd(s string, from int) int {
	for from < len(s) && !isSpace(s[from]) && !isQuote(s[from]) && s[from] != '\\' && !strings.ContainsRune("<>|", rune(s[from])) {
		from++
	}
	return from
}

// url masks what follows the scheme's separator.
func (sc *scanner) url(scheme, s string) string {
	web := isWebScheme(scheme)
	rest := s
	var user string
	if at := userinfoEnd(s, web); at >= 0 {
		user = sc.userinfo(s[:at], web || scheme == "nats") + "@" // whose user alone is a token
		rest = s[at+1:]
	}
	path := strings.IndexAny(rest, "/?#;")
	if path < 0 {
		return user + rest
	}
	return user + rest[:path] + sc.pathAndQuery(rest[:path], rest[path:], web)
}

func isURL(s string) bool {
	scheme, rest, ok := strings.Cut(s, schemeSeparator)
	return ok && scheme != "" && schemeStart(scheme, len(scheme)) == 0 && !strings.ContainsAny(rest, " \n")
}

func isWebScheme(s string) bool {
	return strings.HasSuffix(s, "http") || strings.HasSuffix(s, "https") || s == "ws" || s == "wss"
}

// userinfoEnd finds the @ that ends the user information, or -1. A password may hold
// what should have been escaped in it, so a colon that no port follows sends us on to
// an @ further right.
func userinfoEnd(s string, web bool) int {
	authority := len(s)
	if i := strings.IndexAny(s, "/?#;"); i >= 0 {
		authority = i
	}
	at := strings.LastIndexByte(s[:authority], '@')
	colon := strings.LastIndexByte(s[:authority], ':')
	switch {
	case at < 0 && colon >= 0 && s[0] != '[' && !isPort(s[colon+1:authority]):
		return strings.LastIndexByte(s, '@')
	case at >= 0 && !web && strings.IndexByte(s[:at], ':') >= 0:
		query := len(s)
		if i := strings.IndexByte(s[authority:], '?'); i >= 0 {
			query = authority + i
		}
		return max(at, strings.LastIndexByte(s[:query], '@'))
	default:
		return at
	}
}

// isPort takes templates and hidden references for ports as well.
func isPort(s string) bool {
	return s == "" || isNumber(s) || s[0] == '$' || s[0] == '{' || s[0] == '<' || s[0] >= 0x80
}

// passwordsAfterToken are what clients write for a password when the user is the token.
var passwordsAfterToken = setOf("", "api_token", "token", "x", "x-oauth-basic", "x-oauth-token")

// userinfo masks the password, and the user where that is a token: tokenAlone says that
// one without a password is.
func (sc *scanner) userinfo(s string, tokenAlone bool) string {
	user, password, ok := strings.Cut(s, ":")
	switch {
	case !ok && (tokenAlone || !isPlainUser(user)):
		return sc.hide(user)
	case !ok:
		return user
	case isIn(passwordsAfterToken, strings.ToLower(password)):
		return sc.hide(user) + ":" + password
	case !isPlainUser(user):
		return sc.hide(user) + ":" + sc.hide(password)
	default:
		return user + ":" + sc.hide(password)
	}
}

// webhooks are addresses whose path is the credential, from the end of prefix on.
var webhooks = []struct{ host, prefix string }{
	{"hooks.slack.com", "/services/"},
	{"hooks.slack.com", "/workflows/"},
	{"hooks.slack.com", "/triggers/"},
	{"discord.com", "/api/webhooks/"},
	{"discordapp.com", "/api/webhooks/"},
	{"api.telegram.org", "/bot"},
	{"webhook.office.com", "/webhookb2/"},
	{"outlook.office.com", "/webhook/"},
	{"hooks.zapier.com", "/hooks/catch/"},
	{"maker.ifttt.com", "/trigger/"},
	{"events.pagerduty.com", "/integration/"},
	{"hc-ping.com", "/"},
	{"chat.googleapis.com", "/v1/spaces/"},
	{"", "/receiver/v1/http/"}, // Sumo Logic's collector URL, on a host of its deployment
}

// beforeDigest are parts of a path behind which the hash of a commit or of an object
// stands.
var beforeDigest = setOf("archive", "blob", "blobs", "commit", "commits", "digest", "manifests", "raw", "rev", "sha", "tree")

func (sc *scanner) pathAndQuery(host, s string, web bool) string {
	path, query := s, ""
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		path, query = s[:i], s[i:]
	}
	if web {
		path = sc.path(strings.ToLower(host), path)
	}
	return path + sc.query(query)
}

func (sc *scanner) path(host, path string) string {
	for _, w := range webhooks {
		if strings.Contains(host, w.host) && strings.HasPrefix(path, w.prefix) {
			return w.prefix + sc.hide(path[len(w.prefix):])
		}
	}
	r := rewriter{src: path}
	before := ""
	for from := 0; from < len(path); {
		end := len(path)
		if i := strings.IndexByte(path[from:], '/'); i >= 0 {
			end = from + i
		}
		if part := path[from:end]; looksRandom(part) && !isIn(beforeDigest, before) {
			r.replace(from, end, sc.hide(part))
		}
		before = path[from:end]
		from = end + 1
	}
	return r.String()
}

// query masks the values of parameters, behind a question mark or a hash.
func (sc *scanner) query(s string) string {
	r := rewriter{src: s}
	for from := 0; from < len(s); {
		end := len(s)
		if i := strings.IndexAny(s[from:], "&;"); i >= 0 {
			end = from + i
		}
		name, value, ok := strings.Cut(s[from:end], "=")
		if ok && sc.isSecretParam(name, value) {
			r.replace(end-len(value), end, sc.hide(value))
		}
		from = end + 1
	}
	return r.String()
}

func (sc *scanner) isSecretParam(name, value string) bool {
	if saysNothing(value) || sc.rules.isExcepted(name) {
		return false
	}
	return secretHeader(name) || sc.rules.isExtra(name) || (looksRandom(value) && !hasAny(wordsOf(name), identifierWords))
}

// notUsers stand before a colon and an address, and are no users.
var notUsers = setOf("acct", "arn", "bcc", "cc", "contact", "email", "from", "go", "image", "mail", "mailto", "npm", "pkg",
	"sip", "sips", "to", "urn", "user", "username", "xmpp")

// userinfos masks passwords in addresses without a scheme, as drivers of databases
// take them: user:password@tcp(host:3306)/db, user:password@host:5432.
func (sc *scanner) userinfos(s string) string {
	r := rewriter{src: s}
	for i := 0; i < len(s); {
		at := strings.IndexByte(s[i:], '@')
		if at < 0 {
			break
		}
		at += i
		i = at + 1
		ahead := s[i:min(i+maxUserinfo, len(s))]
		next := strings.IndexByte(ahead, '@')
		if next >= 0 {
			ahead = ahead[:next]
		}
		word := wordEnd(ahead, 0)
		if word == next || !isAddress(ahead[:word]) {
			continue
		}
		ahead = ahead[:word]
		from := userinfoStart(s, at, ahead, sc.config)
		user, password, ok := strings.Cut(s[from:at], ":")
		if !ok && sc.config && isEasyConnect(ahead) {
			user, password, ok = strings.Cut(s[from:at], "/")
		}
		if !ok || saysNothing(password) || !isUserName(user) || strings.Contains(password, "//") || from < r.done ||
			isIn(notUsers, strings.ToLower(user)) && !strings.Contains(ahead, "(") {
			continue
		}
		r.replace(at-len(password), at, sc.hide(password))
	}
	return r.String()
}

// userinfoStart looks back from an @. Before a driver's tcp( a password may hold
// spaces, so everything from the start of a whole value belongs to it.
func userinfoStart(s string, at int, ahead string, whole bool) int {
	from := at
	for from > 0 && at-from < maxUserinfo && !isSpace(s[from-1]) && !isQuote(s[from-1]) {
		from--
	}
	if network, _, ok := strings.Cut(ahead, "("); ok && whole && len(network) <= 8 && at < maxUserinfo {
		if user, _, ok := strings.Cut(s[:at], ":"); ok && isUserName(user) {
			return 0
		}
	}
	for from < at && s[from] == '/' {
		from++
	}
	if eq := strings.IndexByte(s[from:at], '='); eq >= 0 && !strings.Contains(s[from:from+eq], ":") {
		from += eq + 1
	}
	return from
}

// isEasyConnect reports whether an address is host:port/service, before which Oracle's
// clients take user/password.
func isEasyConnect(s string) bool {
	_, rest, ok := strings.Cut(s, ":")
	port, service, slash := strings.Cut(rest, "/")
	return ok && slash && isNumber(port) && service != ""
}

func isUserName(s string) bool {
	return len(s) <= 64 && allOf(s, urlChar)
}

// isAddress reports whether what follows an @ can be the address of a server: no
// digest, no version.
func isAddress(s string) bool {
	if s == "" || strings.HasPrefix(s, "sha256:") || strings.HasPrefix(s, "sha512:") {
		return false
	}
	if s[0] == '(' || s[0] == '/' || s[0] == '[' || s[0] >= 0x80 {
		return true
	}
	v := strings.TrimPrefix(s, "v")
	version := v != "" && isClass(v[0], digit) && strings.Count(v, ".") < 3 && !strings.ContainsAny(v, ":/")
	return isClass(s[0], alnum) && !version
}

// passwordWithSpaces moves the end of a URL behind an @ further right in its line, where
// what looks like a port so far is none: spaces in a password ended it too early.
func passwordWithSpaces(s string, from, end int) int {
	authority := s[from:end]
	colon := strings.LastIndexByte(authority, ':')
	if end >= len(s) || s[end] != ' ' || colon < 0 || strings.ContainsAny(authority, "@/?#[") || isPort(authority[colon+1:]) {
		return end
	}
	line := s[end:min(len(s), end+maxUserinfo)]
	if i := strings.IndexAny(line, "\r\n\"'`"); i >= 0 {
		line = line[:i]
	}
	if at := strings.LastIndexByte(line, '@'); at >= 0 {
		return urlEnd(s, end+at)
	}
	return end
}
