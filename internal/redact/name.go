// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// nameSeparators stand between the words of a name. They do not count in a
// comparison of names.
const nameSeparators = "_-. /"

// maxNameWords bounds the words that are read of one name, from its end, where
// the noun stands.
const maxNameWords = 16

// maxNameBytes bounds what is read of a name.
const maxNameBytes = 1024

// kind is what a name says about the scalar that it names.
type kind uint8

const (
	// kindPlain says nothing.
	kindPlain kind = iota
	// kindSecret: the scalar is a secret.
	kindSecret
	// kindMaybe: it is one unless it reads like an identifier, as in auth: basicauth/a.
	kindMaybe
	// kindConnection: a connection string. Its secret parts are masked, all of it
	// where none can be told apart.
	kindConnection
	// kindWebhook: a URL whose path is the credential.
	kindWebhook
	// kindHeaders: names of headers and their values.
	kindHeaders
	// kindHeader: one header, or what is to be known about headers.
	kindHeader
	// kindParams: query parameters or metadata. Names in it are read like those of headers.
	kindParams
)

// meaning is what is known from a name alone.
type meaning struct {
	kind kind
	// vault: a map under this name holds secrets under names of their owner's choice.
	vault bool
	// plural: a number under this name counts things.
	plural bool
	// path: a path of a file may stand for the secret.
	path bool
	// identifier: long random text under this name identifies something.
	identifier bool
	// digest: hexadecimal text under this name is a hash of something.
	digest bool
	// setting: in a vault, the scalar under this name tells about a secret and is none.
	setting bool
}

// meaningOf reads a name. parent is the name of the map that holds it: key is a
// secret below api.
func meaningOf(name, parent string) meaning {
	words := wordsOf(name)
	if len(words) == 0 {
		return meaning{}
	}
	m := nounMeaning(words)
	if n := relationIn(words); m.kind == kindPlain && n > 0 {
		m = nounMeaning(words[:n]) // tokens_by_tenant
	}
	if last := words[len(words)-1]; m.kind == kindPlain && len(words) == 1 && (last == "key" || last == "keys") {
		m = nounMeaning(append(wordsOf(parent), last))
		m.vault = false
	}
	var all trait
	for _, w := range words {
		all |= traits[w]
	}
	m.plural = m.plural || all&countWord != 0
	m.identifier = all&identifierWord != 0
	m.digest = all&digestWord != 0
	m.setting = traits[words[len(words)-1]]&settingWord != 0
	return m
}

// relationIn is where the last word stands behind which a name says whose or of what
// use the thing is that it names, 0 for nowhere.
func relationIn(words []string) int {
	for n := len(words) - 2; n > 0; n-- {
		if words[n] == "by" || words[n] == "for" {
			return n
		}
	}
	return 0
}

// trait is what else a word of a name says.
type trait uint8

const (
	settingWord    trait = 1 << iota // at its end: the scalar describes a secret
	identifierWord                   // long random text identifies something
	digestWord                       // hexadecimal text is a hash
	countWord                        // a number counts
)

var traits = func() map[string]trait {
	out := map[string]trait{}
	for set, t := range map[*map[string]struct{}]trait{
		&settingWords: settingWord, &identifierWords: identifierWord, &digestWords: digestWord, &countWords: countWord,
	} {
		for w := range *set {
			out[w] |= t
		}
	}
	return out
}()

// nounMeaning finds the noun at the end of a name. Words that only say in which
// form the thing is there are passed over: a password_hash is still one, a
// password_file is not.
func nounMeaning(words []string) meaning {
	for n := len(words); n > 0; n-- {
		last := words[n-1]
		if m, ok := phraseMeaning(words[:n]); ok {
			if m.kind == kindHeader && n < len(words) {
				return secretNoun // header_value
			}
			return m
		}
		if n < len(words) && last == "key" && isIn(keyCarriers, words[n]) {
			return secretNoun // key_pem, key_data
		}
		if !isIn(carriers, last) && !isNumber(last) {
			return meaning{}
		}
	}
	return meaning{}
}

// phraseMeaning reads the end of a name, its last words together.
func phraseMeaning(words []string) (meaning, bool) {
	var third, before string
	last := words[len(words)-1]
	if len(words) > 1 {
		before = words[len(words)-2]
	}
	if len(words) > 2 {
		third = words[len(words)-3]
	}
	if m, ok := phrases[phrase{third, before, last}]; ok && third != "" {
		return m, true
	}
	if m, ok := phrases[phrase{"", before, last}]; ok {
		return m, true
	}
	if m, ok := nouns[last]; ok {
		return m, true
	}
	if strings.HasSuffix(last, "pass") && !isIn(passWords, last) {
		return secretNoun, true
	}
	return compoundMeaning(before + last)
}

// compoundMeaning reads what was written together, and what was written apart though it
// is one word: clientsecret, passPhrase, APIkey.
func compoundMeaning(word string) (meaning, bool) {
	for _, stem := range compoundStems {
		if strings.HasSuffix(word, stem) {
			return nouns[stem], true
		}
	}
	return meaning{}, false
}

// phrase is the end of a name: up to three words, the first of which may be missing.
type phrase [3]string

// phrases tell where their last word alone doesn't.
var phrases = func() map[phrase]meaning {
	fileOrKey := meaning{kind: kindSecret, vault: true, path: true}
	out := map[phrase]meaning{
		{"", "secret", "id"}:          {kind: kindSecret}, // a user and a password of Vault's AppRole, of Tencent's
		{"", "session", "id"}:         {kind: kindSecret},
		{"access", "key", "id"}:       {kind: kindSecret},
		{"service", "account", "key"}: fileOrKey,
		{"", "auth", "users"}:         secretNoun, // names to passwords
		{"", "webhook", "url"}:        {kind: kindWebhook},
		{"", "webhook", "uri"}:        {kind: kindWebhook},
		{"", "webhook", "endpoint"}:   {kind: kindWebhook},
		{"", "hook", "url"}:           {kind: kindWebhook},
		{"", "connection", "string"}:  {kind: kindConnection},
		{"", "connect", "string"}:     {kind: kindConnection},
		{"", "conn", "string"}:        {kind: kindConnection},
		{"", "conn", "str"}:           {kind: kindConnection},
		{"", "data", "source"}:        {kind: kindConnection},
		{"data", "source", "name"}:    {kind: kindConnection},
		{"", "headers", "list"}:       {kind: kindHeaders},
		{"", "mfa", "seed"}:           secretNoun, // other seeds are of samplers
		{"", "nkey", "seed"}:          secretNoun,
		{"", "otp", "seed"}:           secretNoun,
		{"", "totp", "seed"}:          secretNoun,
	}
	for word := range keyWords {
		out[phrase{"", word, "key"}], out[phrase{"", word, "keys"}] = secretNoun, pluralSecretNoun
	}
	for word := range fileKeyWords {
		out[phrase{"", word, "key"}], out[phrase{"", word, "keys"}] = fileOrKey, fileOrKey
	}
	for word := range connectionWords {
		out[phrase{"", word, "url"}], out[phrase{"", word, "uri"}] = meaning{kind: kindConnection}, meaning{kind: kindConnection}
	}
	for word := range headerWords {
		out[phrase{"", word, "header"}] = maybeNoun // the name of a header, or all of one
	}
	return out
}()

var (
	secretNoun       = meaning{kind: kindSecret, vault: true}
	pluralSecretNoun = meaning{kind: kindSecret, vault: true, plural: true}
	maybeNoun        = meaning{kind: kindMaybe}
)

// nouns are single words that tell by themselves.
var nouns = map[string]meaning{
	"apikey": secretNoun, "apikeys": pluralSecretNoun,
	"accesskey": secretNoun, "accesskeyid": {kind: kindSecret}, "accesskeys": pluralSecretNoun,
	"accountkey": secretNoun, "appkey": secretNoun, "authkey": secretNoun, "authtok": secretNoun,
	"encryptionkey": secretNoun, "ingestkey": secretNoun, "ingestionkey": secretNoun,
	"instrumentationkey": secretNoun, "licensekey": secretNoun, "licencekey": secretNoun,
	"masterkey": secretNoun, "privatekey": secretNoun, "privkey": secretNoun, "secretkey": secretNoun,
	"sharedkey": secretNoun, "sharedaccesskey": secretNoun, "signingkey": secretNoun, "storagekey": secretNoun,
	"subscriptionkey": secretNoun, "writekey": secretNoun, "secretid": {kind: kindSecret},
	"authorization": secretNoun, "bearer": secretNoun, "bindpw": secretNoun, "rootpw": secretNoun,
	"communities": pluralSecretNoun, "community": secretNoun,
	"cookie": secretNoun, "cookies": pluralSecretNoun, "cred": secretNoun, "creds": secretNoun,
	"htpasswd": secretNoun, "netrc": secretNoun, "jwt": secretNoun, "otp": secretNoun, "totp": secretNoun,
	"pass": secretNoun, "passcode": secretNoun, "passkey": secretNoun, "passphrase": secretNoun,
	"passphrases": pluralSecretNoun, "passwd": secretNoun, "passwds": pluralSecretNoun,
	"password": secretNoun, "passwords": pluralSecretNoun, "passw": secretNoun, "pepper": secretNoun,
	"pin": secretNoun, "pincode": secretNoun, "psk": secretNoun, "pw": secretNoun, "pwd": secretNoun, "salt": secretNoun, "sas": secretNoun,
	"secret": secretNoun, "secrets": pluralSecretNoun, "sessionid": {kind: kindSecret}, "sessiontoken": secretNoun,
	"token": secretNoun, "tokens": pluralSecretNoun, "txtoken": secretNoun,

	"auth": maybeNoun, "authentication": maybeNoun, "basic": maybeNoun, "basicauth": maybeNoun, "hmac": maybeNoun, "credential": maybeNoun,
	"credentials": maybeNoun, "session": maybeNoun, "sessions": {kind: kindMaybe, plural: true},
	"sig": maybeNoun, "signature": maybeNoun, "userinfo": secretNoun,

	"connectionstring": {kind: kindConnection}, "connstr": {kind: kindConnection}, "connstring": {kind: kindConnection},
	"datasource": {kind: kindConnection}, "dsn": {kind: kindConnection}, "dsns": {kind: kindConnection},
	"webhook": {kind: kindWebhook}, "webhooks": {kind: kindWebhook}, "webhookurl": {kind: kindWebhook},

	"header": {kind: kindHeader}, "headers": {kind: kindHeaders},
	"metadata": {kind: kindParams}, "param": {kind: kindParams}, "params": {kind: kindParams},
	"parameters": {kind: kindParams}, "queryparams": {kind: kindParams}, "query": {kind: kindParams},
	"querystring": {kind: kindParams},
}

// compoundStems end words that were written together, such as clientsecret. Each
// is one of nouns.
var compoundStems = []string{
	"password", "passwords", "passwd", "passphrase", "secret", "secrets", "token", "tokens", "apikey", "apikeys",
	"accesskey", "secretkey", "privatekey", "sharedkey", "licensekey", "credential", "credentials",
	"connectionstring", "datasource", "headers", "webhook",
}

// passWords end in pass and mean something else.
var passWords = setOf("bypass", "compass", "encompass", "overpass", "surpass", "trespass", "underpass")

// keyWords stand before key where it opens something. Others make it a name: a
// partition key, a sort key, a routing key, a public key.
var keyWords = setOf("access", "account", "admin", "aes", "agent", "api", "app", "application", "auth", "authentication",
	"cipher", "cookie", "crypto", "csrf", "decrypt", "decryption", "encrypt", "encryption", "function", "functions", "gossip", "hec", "hmac",
	"ingest", "ingestion", "install", "installation", "instrumentation", "integration", "jwt", "licence", "license",
	"management", "master", "publish", "push", "sas", "secret", "security", "send", "shared", "sharedaccess", "sign",
	"signature", "signing", "storage", "subscription", "symmetric", "token", "webhook", "wireguard", "write")

// fileKeyWords stand before key where a path of a file is as usual as the key.
var fileKeyWords = setOf("cert", "certificate", "client", "priv", "private", "rsa", "server", "ssh", "ssl", "tls")

var (
	// carriers say in which form the thing before them is there.
	carriers = setOf("array", "b", "base", "base64", "bytes", "content", "contents", "current", "data", "default", "encoded",
		"encrypted", "hash", "hashed", "hex", "inline", "jar", "json", "list", "literal", "map", "new", "old", "pem", "plain", "plaintext",
		"prev", "previous", "primary", "raw", "s", "secondary", "str", "string", "text", "val", "value", "values")
	keyCarriers = setOf("data", "material", "pem", "raw", "string", "value")

	connectionWords = setOf("amqp", "broker", "connection", "conn", "database", "db", "jdbc", "mongo", "mongodb", "postgres",
		"rabbitmq", "redis")

	// settingWords end names whose scalar describes a secret.
	settingWords = setOf("account", "action", "algorithm", "alias", "arn", "attribute", "audience", "authenticator", "claim",
		"conditions", "context", "database", "db", "description", "disabled", "duration", "email", "enabled", "endpoint",
		"expiration", "expiry", "field", "file", "filename", "files", "format", "header", "host", "hostname", "id",
		"in", "insecure", "interval", "issuer", "kind", "length", "level", "limit", "max", "mechanism", "method", "min",
		"mode", "name", "names", "namespace", "optional", "owner", "path", "policy", "port", "prefix", "profile", "protocol",
		"provider", "realm", "refresh", "region", "required", "role", "scheme", "scope", "scopes", "size", "source",
		"statements", "suffix", "template", "timeout", "ttl", "type", "unit", "uri", "url", "user", "username", "users",
		"vault", "version")
	countWords      = setOf("count", "limit", "max", "maximum", "min", "minimum", "num", "number")
	identifierWords = setOf("id", "ids", "uid", "guid", "uuid", "arn", "public", "ca", "cert", "certificate", "certs",
		"cloudid")
	digestWords = setOf("checksum", "commit", "crc", "digest", "etag", "fingerprint", "hash", "image", "md", "md5", "ref", "rev",
		"revision", "sha", "sum", "tag", "thumbprint", "version")

	// headerWords make a name of a header, a query parameter or a metadata entry a
	// secret wherever in it they stand.
	headerWords = setOf("apikey", "auth", "authentication", "authorization", "bearer", "code", "cookie", "cookies", "cred",
		"credential", "credentials", "jwt", "key", "keys", "pass", "password", "passwd", "pwd", "sas", "secret", "session",
		"sessionid", "sid", "sig", "signature", "token", "tokens")
	headerSettings = setOf("database", "expiration", "expiry", "file", "format", "mechanism", "method", "mode", "path",
		"properties", "provider", "scope", "source", "timeout", "ttl", "type", "uri", "url", "version")
)

// secretHeader reports whether a header, a query parameter or an entry of metadata
// of this name carries a credential. A token_type or a key-version does not.
func secretHeader(name string) bool {
	words := wordsOf(name)
	if len(words) > 1 && isIn(headerSettings, words[len(words)-1]) {
		return false
	}
	if hasAny(words, headerWords) {
		return true
	}
	k := nounMeaning(words).kind
	return k == kindSecret || k == kindMaybe
}

// plainHeaders are those whose values are shown: they say how to talk and to which
// tenant, never who may. All others are masked, for a header that a user sets in a
// Collector's configuration is mostly there to authenticate.
var plainHeaders = setOf("accept", "acceptcharset", "acceptencoding", "acceptlanguage", "cachecontrol", "connection",
	"contentencoding", "contentlanguage", "contentlength", "contenttype", "date", "expect", "host", "keepalive", "origin",
	"pragma", "range", "referer", "server", "te", "traceparent", "trailer", "transferencoding", "upgrade", "useragent", "via",
	"xforwardedfor", "xforwardedhost", "xforwardedproto", "xhoneycombdataset", "xscopeorgid")

func hasAny(words []string, set map[string]struct{}) bool {
	for _, w := range words {
		if isIn(set, w) {
			return true
		}
	}
	return false
}

func isIn(set map[string]struct{}, s string) bool {
	_, ok := set[s]
	return ok
}

func setOf(words ...string) map[string]struct{} {
	out := make(map[string]struct{}, len(words))
	for _, w := range words {
		out[w] = struct{}{}
	}
	return out
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// squeeze is a name in lower case without what separates its words.
func squeeze(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// wordsOf splits a name at whatever is neither letter nor digit, between letters and
// digits, and where a capital begins a word: apiKey2, API_KEY-2 and api.key.2 are
// the same. Of a long name the last words are returned.
func wordsOf(name string) []string {
	name = name[max(0, len(name)-maxNameBytes):]
	lowered := strings.ToLower(name)
	if len(lowered) != len(name) {
		name = lowered // some letters take more bytes in lower case: humps don't count then
	}
	words := make([]string, 0, 4)
	start := -1
	var before rune // the character before, 0 at the start of a word
	for i, r := range name {
		if !isLetterOrDigit(r) {
			if start >= 0 {
				words = append(words, lowered[start:i])
			}
			start, before = -1, 0
			continue
		}
		if start >= 0 && beginsWord(before, r, name[i+utf8.RuneLen(r):]) {
			words = append(words, lowered[start:i])
			start = i
		}
		if start < 0 {
			start = i
		}
		before = r
	}
	if start >= 0 {
		words = append(words, lowered[start:])
	}
	return words[max(0, len(words)-maxNameWords):]
}

func isLetterOrDigit(r rune) bool {
	if r < utf8.RuneSelf {
		return isClass(byte(r), alnum)
	}
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

// beginsWord reports whether r begins a word although a letter or a digit is before it.
func beginsWord(before, r rune, after string) bool {
	switch {
	case unicode.IsDigit(before) != unicode.IsDigit(r):
		return true
	case !unicode.IsUpper(r):
		return false
	case unicode.IsUpper(before):
		next, _ := utf8.DecodeRuneInString(after)
		return unicode.IsLower(next)
	default:
		return true
	}
}
