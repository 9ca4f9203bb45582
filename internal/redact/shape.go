// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strconv"
	"strings"
	"time"
)

// class is a set of what a character may be.
type class uint8

const (
	lower class = 1 << iota
	upper
	digit
	base64Mark // + / =
	joiner     // - _
	dot
	tilde  // ~ and %
	dollar // $

	letter   = lower | upper
	alnum    = letter | digit
	nameChar = alnum | joiner
	urlChar  = nameChar | dot | tilde
	anyToken = urlChar | base64Mark
)

var classes = func() (t [256]class) {
	for c := 'a'; c <= 'z'; c++ {
		t[c] = lower
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = upper
	}
	for c := '0'; c <= '9'; c++ {
		t[c] = digit
	}
	for _, c := range "+/=" {
		t[c] = base64Mark
	}
	t['-'], t['_'], t['.'], t['~'], t['%'], t['$'] = joiner, joiner, dot, tilde, tilde, dollar
	return t
}()

func isClass(b byte, c class) bool { return classes[b]&c != 0 }

// runEnd is the end of the characters of c that begin at i.
func runEnd(s string, i int, c class) int {
	for i < len(s) && isClass(s[i], c) {
		i++
	}
	return i
}

// allOf reports whether s has characters of c alone, and any at all.
func allOf(s string, c class) bool { return s != "" && runEnd(s, 0, c) == len(s) }

func classesOf(s string) class {
	var c class
	for i := range len(s) {
		c |= classes[s[i]]
	}
	return c
}

// texture is how letters and digits follow each other in a text.
type texture struct {
	has     class
	chars   int // letters and digits
	turns   int // places where lower case, upper case and digits take turns, but for one capital before a small letter
	longest int // letters and digits in a row, at most
	hex     bool
}

func textureOf(s string) texture {
	t := texture{hex: true}
	run, capitals := 0, 0
	last := class(0)
	for i := range len(s) {
		c := classes[s[i]]
		t.has |= c
		if c&alnum == 0 {
			run, last, t.hex = 0, 0, false
			continue
		}
		t.chars++
		run++
		t.longest = max(t.longest, run)
		capitals++
		if last != 0 && c != last && !(last == upper && c == lower && capitals == 2) {
			t.turns++
		}
		if c != upper || last != upper {
			capitals = 1
		}
		last = c
		t.hex = t.hex && isHex(s[i])
	}
	return t
}

func isHex(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
}

// maxTalk bounds what can be anything but a secret where a secret may stand, in bytes.
const maxTalk = 1024

const (
	minRandom    = 20 // letters and digits in a row that words don't reach with that many turns
	minRandomHex = 32 // an MD5 sum, and the shortest keys that are written in hexadecimal
)

// looksRandom reports whether s as a whole reads like key material: base64,
// base64url, hexadecimal or alike. Words, camel case, UUIDs, host names, paths,
// versions and identifiers that clouds hand out do not: in random text, capitals, small
// letters and digits take turns more often than in any name.
func looksRandom(s string) bool {
	if len(s) < minRandom-4 || !allOf(s, nameChar|base64Mark) || isUUID(s) || isSSHPublicKey(s) {
		return false
	}
	if pem, private := isEncodedPEM(s); pem {
		return private
	}
	t := textureOf(s)
	if t.hex {
		return t.longest >= minRandomHex && t.has&digit != 0 && t.has&letter != 0
	}
	if padded := strings.TrimRight(s, "="); len(padded) < len(s) && len(s)%4 == 0 && len(s)-len(padded) <= 2 &&
		allOf(padded, nameChar|base64Mark) && t.has&lower != 0 && t.has&upper != 0 {
		return !strings.Contains(padded, "=")
	}
	if t.has&base64Mark != 0 && (strings.Contains(strings.TrimRight(s, "="), "=") || looksLikePath(s)) {
		return false
	}
	switch t.has & alnum {
	case lower | digit:
		return t.longest >= minRandom && t.turnsAtLeast(30, t.longest) || t.longest >= minRandom+4 && t.turnsAtLeast(25, t.longest)
	case upper | digit:
		return t.longest >= minRandom && t.turnsAtLeast(20, t.longest)
	case letter:
		return t.longest >= minRandom && t.turnsAtLeast(30, t.longest) || t.longest >= minRandom+4 && t.turnsAtLeast(25, t.longest)
	case alnum:
		return t.longest >= minRandom && t.turnsAtLeast(30, t.longest) ||
			t.chars >= minRandom && t.longest >= 6 && t.turnsAtLeast(40, t.chars) ||
			t.chars >= minRandomHex && t.longest >= 8 && t.turnsAtLeast(33, t.chars)
	default:
		return false
	}
}

// turnsAtLeast reports whether there is a turn at percent of n characters or more.
func (t texture) turnsAtLeast(percent, n int) bool { return t.turns*100 >= n*percent }

// isUUID reports whether s is a UUID with its dashes.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i]) {
				return false
			}
		}
	}
	return true
}

func isSSHPublicKey(s string) bool {
	return strings.HasPrefix(s, "AAAAB3NzaC1") || strings.HasPrefix(s, "AAAAC3NzaC1") || strings.HasPrefix(s, "AAAAE2VjZHNh")
}

// looksLikePath reports whether s reads like the path of a file: it is rooted in a
// directory that systems have, or begins like a path and ends with what files of
// keys end with. A slash at the start alone is no sign, base64 begins so as well.
func looksLikePath(s string) bool {
	if len(s) > maxTalk || strings.ContainsAny(s, "\n\r") {
		return false
	}
	for _, root := range pathRoots {
		if strings.HasPrefix(s, root) {
			return true
		}
	}
	dot := strings.LastIndexByte(s, '.')
	return dot >= 0 && isIn(fileEndings, strings.ToLower(s[dot+1:]))
}

var (
	pathRoots = []string{
		"/app/", "/conf", "/data/", "/dev/", "/etc/", "/home/", "/mnt/", "/opt/", "/private/", "/proc/", "/root",
		"/run/", "/secrets/", "/srv/", "/sys/", "/tmp/", "/usr/", "/var/", "/Users/", "/Library/", "./", "../", "~/", "file:/",
		`C:\`, `D:\`, "C:/", `.\`,
	}
	fileEndings = setOf("cer", "cert", "conf", "cfg", "crt", "der", "gpg", "jks", "json", "key", "keytab", "p12", "p8", "pem",
		"pfx", "ppk", "pub", "sock", "toml", "txt", "yaml", "yml")
)

// isPlainValue reports whether s reads as a boolean, a number or a duration. A long
// number is none of these: it may be a key.
func isPlainValue(s string) bool {
	switch s {
	case "", "true", "false", "null", "nil", "none", "~":
		return true
	}
	if len(s) > 24 || !isClass(s[len(s)-1], alnum) {
		return false
	}
	if len(s) <= 10 {
		if _, err := strconv.ParseFloat(s, 64); err == nil {
			return true
		}
	}
	_, err := time.ParseDuration(s)
	return err == nil
}

// settingValues are words that settings are set to and secrets are not. What a provider
// gave is shown if it is one of them.
var settingValues = setOf("all", "always", "auto", "basic", "beginning", "bearer", "bytes", "console", "cumulative", "debug",
	"default", "delta", "detailed", "dev", "development", "disabled", "earliest", "enabled", "end", "error", "fatal", "grpc",
	"gzip", "http", "https", "info", "items", "json", "latest", "local", "localhost", "lz4", "never", "normal", "prod",
	"production", "proto", "protobuf", "qa", "requests", "snappy", "staging", "stderr", "stdout", "tcp", "test", "text",
	"trace", "udp", "unix", "warn", "warning", "zlib", "zstd")

// isIdentifier reports whether s reads like a name of something in a configuration:
// words, joined, perhaps with a component's name behind. Digits are part of a name
// where it tells of authentication, or as in SCRAM-SHA-256.
func isIdentifier(s string) bool {
	typ, name, named := strings.Cut(s, "/")
	if len(s) > 64 || !allOf(typ, nameChar) || !isClass(typ[0], letter) || looksRandom(typ) ||
		named && (!allOf(name, urlChar) || len(name) > 24 || looksRandom(name)) {
		return false
	}
	t := textureOf(typ)
	switch {
	case t.has&digit == 0:
		return t.turns*10 < len(typ)*4
	case t.has&lower == 0:
		return t.has&joiner != 0
	default:
		return strings.Contains(typ, "auth") || strings.Contains(typ, "oidc") || strings.Contains(typ, "sigv4")
	}
}

// isProse reports whether s is one word of a sentence: letters alone, only the
// first a capital.
func isProse(s string) bool {
	s = strings.TrimRight(s, ".,:;!?)")
	return s != "" && len(s) <= 20 && (allOf(s, lower) || (len(s) > 1 && isClass(s[0], upper) && allOf(s[1:], lower)))
}

// isTokenLike reports whether one word of a text is more likely a token than a word.
func isTokenLike(s string) bool {
	if len(s) < 6 || isProse(s) || isPlainValue(s) {
		return false
	}
	c := classesOf(s)
	return c&digit != 0 || c&letter == letter || len(s) >= 20
}

// isPlainUser reports whether the user part of a URL is a name, not a token.
func isPlainUser(s string) bool {
	return len(s) <= 40 && !looksRandom(s) && (len(s) < 16 || textureOf(s).turns*10 < len(s)*3)
}

// isOpaque reports whether s is unlikely to be a word, so that it may be looked for
// within others.
func isOpaque(s string) bool {
	if len(s) < 10 || looksLikePath(s) || isPlainValue(s) {
		return false
	}
	t := textureOf(s)
	return t.has&digit != 0 && t.has&letter != 0 && t.turns >= 2 || t.has&letter == letter && len(s) >= 16 && t.turnsAtLeast(25, len(s))
}

// isStructural reports whether s reads like what configurations are made of: words,
// host names, paths, versions, sentences. What mixes capitals, small letters and
// digits in one word, or is long, does not.
func isStructural(s string) bool {
	for i := 0; i < len(s); {
		end := runEnd(s, i, alnum)
		if end == i {
			i++
			continue
		}
		if run := s[i:end]; len(run) >= 8 && classesOf(run)&alnum != digit {
			t := textureOf(run)
			switch {
			case t.has&alnum == alnum && t.turns >= 3,
				t.has&digit != 0 && t.turns >= 3 && len(run) > 12,
				t.has&digit == 0 && len(run) >= 16 && t.turnsAtLeast(25, len(run)),
				len(run) > 40:
				return false
			}
		}
		i = end
	}
	return true
}

// isSurelySecret reports whether s can be nothing but a secret, so that it may be masked
// wherever it stands.
func isSurelySecret(s string) bool {
	return len(s) > maxTalk || isOpaque(s) && !isStructural(s)
}

// saysNothing reports whether a value that stands where a secret may stand is none:
// empty, masked already, a placeholder, or a pattern of an expression.
func saysNothing(s string) bool {
	if len(s) > maxTalk {
		return false
	}
	switch strings.ToLower(s) {
	case "", "true", "false", "null", "nil", "none", "<nil>", "~", strings.ToLower(Mask):
		return true
	}
	if strings.Trim(s, "*") == "" || strings.Trim(s, "xX") == "" || strings.Trim(s, ".") == "" {
		return true
	}
	if s[0] == '<' && s[len(s)-1] == '>' || strings.HasPrefix(s, "{{") {
		return true
	}
	if len(s) == 2 && (s[0] == '$' || s[0] == '%') {
		return true // $1, %s
	}
	return isPattern(s)
}

// isPattern reports whether s begins like a part of a regular expression.
func isPattern(s string) bool {
	switch s[0] {
	case '(', '[', '\\', '.':
	default:
		return false
	}
	for _, sign := range []string{`\S`, `\w`, `\d`, `\s`, ".*", ".+", "[^", "(?", "[a-z", "[A-Z", "[0-9"} {
		if strings.Contains(s, sign) {
			return true
		}
	}
	return false
}
