// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetproblem

import (
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Maxima of an error: what is looked at, and what is left of it.
const (
	maxInput  = 4 << 10
	maxOutput = 512
)

// What stands for what was taken out.
const (
	anyText   = `"…"`
	anyURL    = "<url>"
	anyAddr   = "<addr>"
	anyHost   = "<host>"
	anyPath   = "<path>"
	anyID     = "<id>"
	anyTime   = "<time>"
	anyNumber = "<n>"
)

// Normalize takes out of an error what differs from one host and one moment to the next.
func Normalize(text string) string {
	n := normalizer{in: head(text, maxInput)}
	for n.pos < len(n.in) {
		n.next()
	}
	return head(withoutRepeats(strings.TrimSpace(n.out.String())), maxOutput)
}

// normalizer walks over a text once.
type normalizer struct {
	in  string
	pos int
	out strings.Builder

	context string // the last word, without what is around it, in small letters
}

// next takes one run of space, one text in quotes or one chunk without either.
func (n *normalizer) next() {
	r, size := utf8.DecodeRuneInString(n.in[n.pos:])
	switch {
	case unicode.IsSpace(r) || unicode.IsControl(r):
		n.pos += size
		if s := n.out.String(); s != "" && s[len(s)-1] != ' ' {
			n.out.WriteByte(' ')
		}
	case isQuote(n.in[n.pos]) && n.quoted():
	default:
		n.chunk()
	}
}

func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' }

// maxQuoted is more than a text in quotes has that is one and not a stray quote.
const maxQuoted = 1 << 10

// sentence is how many spaces make a text in quotes an error of its own, which is read, and not a name.
const sentence = 3

// quoted takes a text in quotes, if there is one. An apostrophe is none: a quote begins where no word is before it and
// ends where none is behind it.
func (n *normalizer) quoted() bool {
	quote := n.in[n.pos]
	if before := n.pos - 1; before >= 0 && isWordByte(n.in[before]) {
		return false
	}
	rest := n.in[n.pos+1 : min(len(n.in), n.pos+1+maxQuoted)]
	for i := 0; i < len(rest); i++ {
		if rest[i] == '\\' && quote == '"' {
			i++
			continue
		}
		if rest[i] == quote && (i+1 == len(rest) || !isWordByte(rest[i+1])) {
			if strings.Count(rest[:i], " ") >= sentence {
				n.out.WriteByte(quote)
				n.pos++
				return true
			}
			n.pos += i + 2
			n.out.WriteString(anyText)
			n.context = ""
			return true
		}
	}
	return false
}

func isWordByte(c byte) bool {
	return c >= utf8.RuneSelf || c == '_' || isLetter(c) || isDigit(c)
}

func isLetter(c byte) bool { return (c|0x20) >= 'a' && (c|0x20) <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isHex(c byte) bool    { return isDigit(c) || ((c|0x20) >= 'a' && (c|0x20) <= 'f') }

const (
	opening = "([{<,;=:!|*"
	closing = ")]}>,;.:!?|*"
)

// chunk takes what has no space in it. What is around it (brackets, commas, colons) stays.
func (n *normalizer) chunk() {
	start := n.pos
	for n.pos < len(n.in) {
		r, size := utf8.DecodeRuneInString(n.in[n.pos:])
		if unicode.IsSpace(r) || unicode.IsControl(r) || (n.pos > start && isQuote(n.in[n.pos]) && !isWordByte(n.in[n.pos-1])) {
			break
		}
		n.pos += size
	}
	word := strings.ToValidUTF8(n.in[start:n.pos], "\uFFFD")
	n.words(word)
}

// words cuts a chunk where two values meet: an arrow, an equals sign, a comma.
func (n *normalizer) words(s string) {
	for s != "" {
		i, size := cutAt(s)
		n.word(s[:i])
		n.out.WriteString(s[i : i+size])
		s = s[i+size:]
	}
}

func cutAt(s string) (i, size int) {
	for i := range len(s) {
		switch {
		case strings.HasPrefix(s[i:], "->"):
			return i, 2
		case s[i] == ',' || s[i] == ';' || s[i] == '|':
			return i, 1
		case s[i] == '=' && !strings.Contains(s[:i], "://"):
			return i, 1
		}
	}
	return len(s), 0
}

func (n *normalizer) word(s string) {
	if s == "" {
		return
	}
	for _, known := range []string{anyURL, anyAddr, anyHost, anyPath, anyID, anyTime, anyNumber} {
		if rest, ok := strings.CutPrefix(s, known); ok {
			n.out.WriteString(known)
			n.context = ""
			n.word(rest)
			return
		}
	}
	if strings.HasPrefix(s, "[") { // an IPv6 address has brackets of its own
		if end := strings.LastIndexByte(s, ']'); end > 0 {
			rest := strings.TrimRight(s[end:], closing[1:])
			if whole := s[:end+max(len(rest), 1)]; isAddress(whole) {
				n.out.WriteString(anyAddr + s[len(whole):])
				return
			}
		}
	}
	core := strings.TrimLeft(s, opening)
	n.out.WriteString(s[:len(s)-len(core)])
	trimmed := strings.TrimRight(core, closing)
	if strings.HasSuffix(trimmed, ":") || trimmed == "" {
		trimmed = core
	}
	if isErrorCode(trimmed) && (n.isBeforeCapital() || strings.HasPrefix(s, "("+trimmed+")")) {
		n.out.WriteString(trimmed)
	} else {
		n.out.WriteString(n.value(trimmed))
	}
	n.out.WriteString(core[len(trimmed):])
	n.context = strings.ToLower(trimmed[:min(len(trimmed), 32)])
}

// value is what stands for one value.
func (n *normalizer) value(s string) string {
	if s == "" {
		return ""
	}
	switch {
	case strings.Contains(s, "://"):
		return anyURL
	case isAddress(s):
		return anyAddr
	case isTime(s):
		return anyTime
	case isPath(s):
		return anyPath
	case n.isStatusCode(s):
		return s
	}
	if host, port, ok := strings.Cut(s, ":"); ok && port != "" && strings.Trim(port, "0123456789") == "" && isHostName(host) {
		if strings.HasSuffix(host, ".go") {
			return host + ":" + anyNumber
		}
		return anyAddr
	}
	if isHostName(s) && (n.context == "lookup" || n.context == "host" || hasKnownDomain(s)) {
		return anyHost
	}
	if i := strings.IndexAny(s, "(){}[]:\"'"); i >= 0 { // two words without a space between
		return n.value(s[:i]) + s[i:i+1] + n.value(s[i+1:])
	}
	if isDuration(s) {
		return anyNumber
	}
	return segments(s)
}

// isStatusCode tells the numbers that say what is wrong: 404 behind the word status or code.
func (n *normalizer) isStatusCode(s string) bool {
	if len(s) > 3 || strings.Trim(s, "0123456789") != "" {
		return false
	}
	switch strings.TrimRight(n.context, ":") {
	case "status", "code", "statuscode", "status_code", "http", "errno":
		return true
	}
	return false
}

// isErrorCode takes what may be a status of HTTP that says no: 401 Unauthorized, (503).
func isErrorCode(s string) bool {
	return len(s) == 3 && (s[0] == '4' || s[0] == '5') && isDigit(s[1]) && isDigit(s[2])
}

func (n *normalizer) isBeforeCapital() bool {
	return n.pos+1 < len(n.in) && n.in[n.pos] == ' ' && n.in[n.pos+1] >= 'A' && n.in[n.pos+1] <= 'Z'
}

func isAddress(s string) bool {
	if !isHex(s[0]) && s[0] != '[' && s[0] != ':' {
		return false
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return true
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return err == nil && len(s) > 2
}

var timeLayouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02", "2006/01/02", "15:04:05.999999999", "20060102T150405Z",
}

func isTime(s string) bool {
	if len(s) < 8 || len(s) > 40 || !isDigit(s[0]) {
		return false
	}
	for _, layout := range timeLayouts {
		if _, err := time.Parse(layout, s); err == nil {
			return true
		}
	}
	return false
}

// isPath takes /a/b, ./a, ~/a and C:\a.
func isPath(s string) bool {
	switch {
	case len(s) < 2:
		return false
	case s[0] == '/':
		return isWordByte(s[1]) || s[1] == '.'
	case strings.HasPrefix(s, "./"), strings.HasPrefix(s, "../"), strings.HasPrefix(s, "~/"), strings.HasPrefix(s, `\\`):
		return true
	}
	return len(s) > 3 && isLetter(s[0]) && s[1] == ':' && (s[2] == '\\' || s[2] == '/')
}

func isHostName(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && !isDigit(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

var knownDomains = []string{
	".local", ".internal", ".com", ".net", ".org", ".io", ".svc", ".cloud", ".dev", ".lan", ".corp", ".example", ".test", ".invalid",
}

func hasKnownDomain(s string) bool {
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	for _, d := range knownDomains {
		if strings.HasSuffix(s, d) && len(s) > len(d) {
			return true
		}
	}
	return false
}

// isDuration takes 5s, 1m30.5s, 250ms; the units of sizes stay.
func isDuration(s string) bool {
	if !isDigit(s[0]) || isDigit(s[len(s)-1]) {
		return false
	}
	_, err := time.ParseDuration(s)
	return err == nil
}

// segments takes numbers and identifiers out of what is left: names, words, and what they are joined to.
func segments(s string) string {
	if isID(s) {
		return anyID
	}
	var b strings.Builder
	for s != "" {
		end := 0
		for end < len(s) && (isWordByte(s[end]) && s[end] != '_') {
			end++
		}
		if end > 0 {
			b.WriteString(segment(s[:end]))
			s = s[end:]
			if len(s) > 1 && s[0] == '.' && isDigit(s[1]) && strings.HasSuffix(b.String(), anyNumber) {
				s = "\x00" + s[1:] // a decimal point, or the next part of a version
			}
			continue
		}
		if s[0] == 0 {
			digits := len(s) - len(strings.TrimLeft(s[1:], "0123456789"))
			if rest := s[digits:]; rest == "" || !isWordByte(rest[0]) {
				s = dropDecimals(rest)
				continue
			}
			s = s[digits:]
			continue
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

// dropDecimals lets a further part of a version follow the one before.
func dropDecimals(s string) string {
	if len(s) > 1 && s[0] == '.' && isDigit(s[1]) {
		return "\x00" + s[1:]
	}
	return s
}

// segment is a run of letters and digits.
func segment(s string) string {
	switch {
	case s == "":
		return ""
	case isID(s):
		return anyID
	}
	letters := 0
	for letters < len(s) && !isDigit(s[letters]) {
		letters++
	}
	if letters == len(s) {
		return s
	}
	digits := letters
	for digits < len(s) && isDigit(s[digits]) {
		digits++
	}
	if letters > 0 && digits-letters <= 3 && !strings.ContainsAny(s[digits:], "0123456789") {
		return s // http2, x509, sha256, k8s
	}
	return s[:letters] + anyNumber + segment(strings.TrimLeft(s[digits:], "0123456789"))
}

// isID tells UUIDs, hashes, pointers and the random ends of names from words.
func isID(s string) bool {
	if len(s) > 2 && s[0] == '0' && (s[1]|0x20) == 'x' {
		return isAllHex(s[2:])
	}
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && isAllHex(strings.ReplaceAll(s, "-", "")) {
		return true
	}
	changes, digits, upper := 0, 0, false
	for i := range len(s) {
		if !isLetter(s[i]) && !isDigit(s[i]) {
			return false
		}
		if isDigit(s[i]) {
			digits++
		}
		upper = upper || (s[i] >= 'A' && s[i] <= 'Z')
		if i > 0 && isDigit(s[i]) != isDigit(s[i-1]) {
			changes++
		}
	}
	if digits == len(s) || digits == 0 {
		return false
	}
	return (len(s) >= 5 && changes >= 2) || (len(s) >= 8 && isAllHex(s)) || (len(s) >= 20 && upper)
}

func isAllHex(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return s != ""
}

// withoutRepeats says once what a list of errors says many times.
func withoutRepeats(s string) string {
	if !strings.Contains(s, "; ") {
		return s
	}
	var out []string
	seen := map[string]struct{}{}
	for part := range strings.SplitSeq(s, "; ") {
		part = strings.TrimSpace(part)
		if _, again := seen[part]; !again {
			seen[part] = struct{}{}
			out = append(out, part)
		}
	}
	return strings.Join(out, "; ")
}

// head is the longest prefix of s within limit bytes that ends between runes.
func head(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
