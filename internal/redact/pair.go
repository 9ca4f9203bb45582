// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
)

const (
	maxPairName   = 64   // bytes of a name before = or :
	maxPairGap    = 4    // spaces around them
	maxPassphrase = 4    // spaces in a value that is no sentence
	maxTalkWord   = 16   // bytes of a word that only speaks of a secret
	maxElement    = 4096 // bytes of the text of an XML element
)

// pair is a name and a value that were found in a text.
type pair struct {
	name     string
	sep      int  // where = or : is
	from, to int  // the value
	quoted   bool // quotes, or the lines of a block, leave no doubt about its end
	lineHead bool // the name begins its line, as in YAML and in headers
	listed   bool // the name follows a semicolon, as in connection strings
}

// pairs masks the values of secrets in a text that names them: connection strings
// (Password=x;AccountKey=y), key=value lists (host=a password=b), lines of YAML,
// members of JSON, fields of a log line.
func (sc *scanner) pairs(s string) string {
	r := rewriter{src: s}
	for i := 0; i < len(s); {
		sep := strings.IndexAny(s[i:], "=:")
		if sep < 0 {
			break
		}
		sep += i
		i = sep + 1
		if isOperator(s, sep) {
			continue
		}
		p, ok := pairName(s, sep)
		if !ok || sep < r.done {
			continue
		}
		m := sc.meaningOf(p.name, "")
		if m.kind == kindMaybe && isHeaderName(p.name) {
			m.kind = kindSecret
		}
		if m.kind != kindSecret && m.kind != kindMaybe || isResourceName(s, sep) || isTalk(s, p) {
			continue
		}
		p.findValue(s, sc.config)
		if sc.isSecretPair(s, p, m) {
			r.replace(p.from, p.to, sc.hide(s[p.from:p.to]))
			i = max(i, p.to)
		}
	}
	return r.String()
}

// isHeaderName reports whether a name can be nothing but that of a header.
func isHeaderName(s string) bool {
	return len(s) > 2 && (s[0] == 'x' || s[0] == 'X') && s[1] == '-'
}

// isOperator reports whether the character compares or separates instead of
// assigning: ==, !=, =~, :=, ://, ::.
func isOperator(s string, i int) bool {
	if s[i] == ':' {
		return strings.HasPrefix(s[i+1:], "//") || strings.HasPrefix(s[i+1:], ":") || i > 0 && s[i-1] == ':' ||
			strings.HasPrefix(s[i+1:], "=")
	}
	if i > 0 && strings.IndexByte("=!<>~", s[i-1]) >= 0 {
		return true
	}
	return i+1 < len(s) && (s[i+1] == '=' || s[i+1] == '~')
}

// isResourceName reports whether a colon is one of those in an ARN or a URN.
func isResourceName(s string, i int) bool {
	from := i
	for from > 0 && i-from < maxUserinfo && !isSpace(s[from-1]) && !isQuote(s[from-1]) && s[from-1] != '=' {
		from--
	}
	return s[i] == ':' && (strings.HasPrefix(s[from:], "arn:") || strings.HasPrefix(s[from:], "urn:"))
}

// pairName reads the name before a separator.
func pairName(s string, sep int) (pair, bool) {
	end := sep
	for end > 0 && sep-end < maxPairGap && s[end-1] == ' ' {
		end--
	}
	p := pair{sep: sep}
	if end > 0 && isQuote(s[end-1]) {
		p.quoted = true
		end--
		if end > 0 && s[end-1] == '\\' {
			end--
		}
	}
	from := end
	for from > 0 && end-from < maxPairName && (isClass(s[from-1], nameChar|dot) || s[from-1] >= 0x80) {
		from--
	}
	p.name = strings.TrimLeft(s[from:end], "-.")
	head := from
	for head > 0 && (s[head-1] == ' ' || s[head-1] == '\t' || s[head-1] == '-' || isQuote(s[head-1])) && from-head < maxPairName {
		head--
	}
	p.lineHead = head == 0 || s[head-1] == '\n'
	p.listed = head > 0 && s[head-1] == ';'
	return p, p.name != ""
}

// goStrings stands before the strings of a list that Go has printed (%#v).
const goStrings = "[]string{"

// findValue finds the value behind the separator.
func (p *pair) findValue(s string, config bool) {
	from := skipBlanks(s, p.sep+1)
	if strings.HasPrefix(s[from:], goStrings) {
		from += len(goStrings)
	}
	escaped := strings.HasPrefix(s[from:], `\"`) || strings.HasPrefix(s[from:], `\'`)
	if escaped {
		from++
	}
	if from < len(s) && isQuote(s[from]) {
		p.quoted = p.quoted || s[p.sep] == ':'
		p.from, p.to = from+1, closingQuote(s, from, escaped)
		return
	}
	p.from = from
	switch brace := closingBrace(s, from); {
	case brace > 0 && s[p.sep] == '=':
		p.to = brace // Password={a;b}
	case s[p.sep] == ':' && p.lineHead && from > p.sep+1:
		p.findLine(s, config)
	case isRestOfLine(p.name):
		p.to = quoteOrLineEnd(s, from)
	case s[p.sep] == '=' && (p.listed || p.lineHead && strings.IndexByte(s[from:lineEnd(s, from)], ';') >= 0):
		p.to = semicolonEnd(s, from)
	default:
		p.to = valueWordEnd(s, from)
	}
}

// findLine ends a value that has a line of its own. In a text that is no configuration
// a long line is a sentence; behind | or > the value is on the lines below.
func (p *pair) findLine(s string, config bool) {
	p.to = lineEnd(s, p.from)
	switch line := s[p.from:p.to]; {
	case isBlockStart(line):
		p.from, p.to = blockOf(s, p.sep, p.to)
		p.quoted = true
	case !config && strings.Count(line, " ") > maxPassphrase:
		p.to = valueWordEnd(s, p.from)
	}
}

func skipBlanks(s string, i int) int {
	for n := 0; n < maxPairGap && i < len(s) && (s[i] == ' ' || s[i] == '\t'); n++ {
		i++
	}
	return i
}

// closingBrace is the end of what stands in braces from i on, or -1.
func closingBrace(s string, i int) int {
	if i >= len(s) || s[i] != '{' {
		return -1
	}
	if n := strings.IndexByte(s[i:min(len(s), i+maxTalk)], '}'); n > 0 {
		return i + n + 1
	}
	return -1
}

// closingQuote is where the quoted text that opens at i ends. Without a closing
// quote it goes on to the end of the line.
func closingQuote(s string, i int, escaped bool) int {
	q := s[i]
	for j := i + 1; j < len(s) && s[j] != '\n'; j++ {
		switch {
		case s[j] == '\\' && escaped && j+1 < len(s) && s[j+1] == q:
			return j
		case s[j] == '\\' && q != '\'':
			j++
		case s[j] == q && q == '\'' && j+1 < len(s) && s[j+1] == q:
			j++
		case s[j] == q:
			return j
		}
	}
	return lineEnd(s, min(i+1, len(s)))
}

// isBlockStart reports whether a value is what begins a block of lines in YAML.
func isBlockStart(s string) bool {
	return s != "" && len(s) <= 3 && (s[0] == '|' || s[0] == '>') && strings.Trim(s[1:], "+-123456789") == ""
}

// blockOf are the lines behind the one that ends at end, as far as they are indented
// more than that.
func blockOf(s string, sep, end int) (from, to int) {
	outer := indentOf(s, strings.LastIndexByte(s[:sep], '\n')+1)
	from, to = -1, end
	for line := end; line < len(s); {
		line += len("\n")
		next := lineEnd(s, min(line, len(s)))
		inner := indentOf(s, min(line, len(s)))
		if inner <= outer && strings.TrimSpace(s[min(line, len(s)):next]) != "" {
			break
		}
		if from < 0 && line < len(s) {
			from = line + inner
		}
		to, line = next, next
	}
	if from < 0 || from > to {
		return end, end
	}
	return from, to
}

func indentOf(s string, i int) int {
	n := 0
	for i+n < len(s) && s[i+n] == ' ' {
		n++
	}
	return n
}

func lineEnd(s string, i int) int {
	if n := strings.IndexAny(s[i:], "\r\n"); n >= 0 {
		return i + n
	}
	return len(s)
}

func quoteOrLineEnd(s string, i int) int {
	end := lineEnd(s, i)
	if n := strings.IndexAny(s[i:end], "\"'`"); n >= 0 {
		return i + n
	}
	return end
}

// isRestOfLine reports whether a value of this name goes on over spaces.
func isRestOfLine(name string) bool {
	name = squeeze(name)
	return strings.HasSuffix(name, "authorization") || strings.HasSuffix(name, "cookie")
}

// semicolonEnd ends a value of a connection string, in which spaces are part of it.
func semicolonEnd(s string, i int) int {
	for i < len(s) && s[i] != ';' && s[i] != '\n' && s[i] != '\r' && !isQuote(s[i]) {
		i++
	}
	return i
}

// valueWordEnd ends a value at white space, a quote, an ampersand, a semicolon, or a
// comma behind which another pair or a space comes.
func valueWordEnd(s string, i int) int {
	if strings.HasPrefix(s[i:], Mask) {
		if i += len(Mask); i < len(s) && s[i] == '@' {
			return i // a password in a URL
		}
	}
	for i < len(s) && !isSpace(s[i]) && !isQuote(s[i]) && s[i] != '&' && s[i] != ';' {
		if s[i] == ',' && endsAtComma(s[i+1:]) {
			break
		}
		if s[i] == '\\' && i+1 < len(s) && (isQuote(s[i+1]) || s[i+1] == 'n') {
			break
		}
		i++
	}
	return i
}

func endsAtComma(rest string) bool {
	end := runEnd(rest[:min(len(rest), maxPairName)], 0, nameChar|dot)
	return end == len(rest) || isSpace(rest[end]) || isQuote(rest[end]) || end > 0 && (rest[end] == '=' || rest[end] == ':')
}

// isSecretPair decides on a value behind the name of a secret. An assignment, a
// member of JSON and a line of its own are taken at their word; after a colon within
// a sentence ("invalid token: unexpected end") a word is no secret unless the name
// leaves no doubt.
func (sc *scanner) isSecretPair(s string, p pair, m meaning) bool {
	value := s[p.from:p.to]
	if saysNothing(value) || isMaskedWithEnd(value) || m.path && looksLikePath(value) ||
		s[p.sep] == ':' && isFlowMap(value) {
		return false
	}
	if sc.refs != nil && sc.refs.only(value) {
		return true // so that the reference is known to stand for a secret
	}
	if m.kind == kindMaybe {
		return isTokenLike(value) && !isIdentifier(value) && !strings.Contains(value, " ")
	}
	if s[p.sep] == '=' || p.quoted {
		return !m.plural || !isPlainValue(value)
	}
	first, rest, _ := strings.Cut(value, " ")
	if isIn(authSchemes, strings.ToLower(value)) || m.plural && isPlainValue(value) {
		return false // schemes has seen to what follows
	}
	words := wordsOf(p.name)
	password := strings.Contains(squeeze(p.name), "pass")
	sure := password || len(words) > 1 || hasAny(words, sureWords) || sc.config && hasAny(words, sureInConfig)
	if p.lineHead && p.from > p.sep+1 {
		return sure || isTokenLike(first) || sc.config && !strings.Contains(rest, " ")
	}
	tight := p.from == p.sep+1
	return sure && (!tight || password || len(value) >= minSecretLength) || isTokenLike(value) && !isIdentifier(value)
}

var (
	// sureWords name secrets even before a colon in a sentence, sureInConfig in a text of a
	// configuration: programs write secret: and the name of one.
	sureWords    = setOf("apikey", "authorization", "clientsecret", "pwd", "secretkey", "accesskey", "privatekey")
	sureInConfig = setOf("secret")

	pairTalk = setOf("a", "an", "are", "bad", "can", "can't", "cannot", "could", "denied", "does", "doesn't", "empty",
		"expected", "failed", "got", "has", "have", "invalid", "is", "isn't", "malformed", "may", "missing", "must", "no", "not",
		"only", "permission", "required", "should", "the", "too", "undefined", "unexpected", "unknown", "unset",
		"unsupported", "value", "was", "wrong", "yes")
)

// isTalk reports whether a program goes on to speak of a secret behind its name.
func isTalk(s string, p pair) bool {
	if s[p.sep] != ':' || p.quoted {
		return false
	}
	rest := s[skipBlanks(s, p.sep+1):]
	word := rest[:valueWordEnd(rest[:min(len(rest), maxTalkWord)], 0)]
	return isIn(pairTalk, strings.ToLower(strings.Trim(word, ".,;:!?()[]{}")))
}

// isMaskedWithEnd reports whether a value is the mask and what closes a bracket.
func isMaskedWithEnd(s string) bool {
	rest, ok := strings.CutPrefix(s, Mask)
	return ok && strings.Trim(rest, ")]},.;:") == ""
}

// isFlowMap reports whether a value is a map, whose own pairs are seen one by one.
func isFlowMap(s string) bool {
	return len(s) <= maxTalk && s[0] == '{' && s[len(s)-1] == '}' && strings.ContainsAny(s, ":=")
}

// flags masks the argument behind a flag that is named like a secret, --token x, and
// the password in -u user:password.
func (sc *scanner) flags(s string) string {
	r := rewriter{src: s}
	for i := 0; i < len(s); {
		dash := strings.IndexByte(s[i:], '-')
		if dash < 0 {
			break
		}
		dash += i
		end := runEnd(s, dash, nameChar|dot)
		i = max(end, dash+1)
		if from := sc.shortFlag(s, dash); from > 0 {
			to := wordEnd(s, from)
			if from < len(s) && isQuote(s[from]) {
				to = closingQuote(s, from, false)
				from++
			}
			if v := s[from:to]; !saysNothing(v) {
				r.replace(from, to, sc.hide(v))
				i = to
			}
			continue
		}
		if dash > 0 && !isSpace(s[dash-1]) && !isQuote(s[dash-1]) || end >= len(s) || s[end] != ' ' {
			continue
		}
		from := end + 1
		if flag := s[dash:end]; flag == "-u" || flag == "--user" {
			to := wordEnd(s, from)
			if user, password, ok := strings.Cut(s[from:to], ":"); ok && isUserName(user) && !saysNothing(password) {
				r.replace(to-len(password), to, sc.hide(password))
			}
			continue
		} else if !sc.isSecretFlag(flag) {
			continue
		}
		to := wordEnd(s, from)
		if from < len(s) && isQuote(s[from]) {
			to = closingQuote(s, from, false)
			from++
		}
		if v := s[from:to]; !saysNothing(v) && v[0] != '-' && !isIn(flagTalk, v) {
			r.replace(from, to, sc.hide(v))
			i = to
		}
	}
	return r.String()
}

// shortFlags are the letters by which programs take a password or alike, and whether it
// may follow without a space. A program is known by how its name, or its name and the
// next word, begins.
var shortFlags = []struct {
	program string
	letter  byte
	tight   bool
}{
	{"az login", 'p', false},
	{"bcp", 'P', true},
	{"buildah login", 'p', false},
	{"cqlsh", 'p', false},
	{"docker login", 'p', false},
	{"ldapadd", 'w', false},
	{"ldapmodify", 'w', false},
	{"ldapsearch", 'w', false},
	{"ldapwhoami", 'w', false},
	{"mariadb", 'p', true},
	{"mongo", 'p', false},
	{"mysql", 'p', true},
	{"oc login", 'p', false},
	{"podman login", 'p', false},
	{"rabbitmqadmin", 'p', false},
	{"redis-cli", 'a', false},
	{"snmpbulk", 'c', false},
	{"snmpget", 'c', false},
	{"snmpset", 'c', false},
	{"snmpwalk", 'c', false},
	{"sqlcmd", 'P', true},
	{"sshpass", 'p', true},
}

// shortLetters are those of shortFlags.
const shortLetters = "acpPw"

// maxCommand bounds how far back the beginning of a command is looked for, in bytes.
const maxCommand = 256

// shortFlag is where the secret begins that the flag at dash brings, or 0.
func (sc *scanner) shortFlag(s string, dash int) int {
	if dash == 0 || s[dash-1] != ' ' || dash+2 >= len(s) || strings.IndexByte(shortLetters, s[dash+1]) < 0 {
		return 0
	}
	command := commandBefore(s, dash)
	if command == "" {
		return 0
	}
	for _, f := range shortFlags {
		if s[dash+1] != f.letter || !strings.HasPrefix(command, f.program) {
			continue
		}
		switch {
		case s[dash+2] != ' ' && f.tight:
			return dash + 2
		case s[dash+2] == ' ' && dash+3 < len(s) && s[dash+3] != '-' && f.program != "mysql" && f.program != "mariadb":
			return dash + 3
		}
	}
	return 0
}

// commandBefore is the command whose arguments reach to i, from the last part of its
// program's path on, or "" if it begins too far off.
func commandBefore(s string, i int) string {
	from := i
	for from > 0 && i-from < maxCommand && strings.IndexByte("|;&\n\r`($'\"", s[from-1]) < 0 {
		from--
	}
	if i-from >= maxCommand {
		return ""
	}
	command := strings.TrimLeft(s[from:i], " \t")
	program, _, _ := strings.Cut(command, " ")
	return command[strings.LastIndexByte(program, '/')+1:]
}

var flagTalk = setOf("and", "are", "for", "flag", "has", "in", "is", "must", "not", "of", "option", "or", "to", "was", "with")

// isSecretFlag reports whether an argument is a flag whose value, the next argument,
// is a secret.
func (sc *scanner) isSecretFlag(s string) bool {
	name := strings.TrimLeft(s, "-")
	if len(name) == len(s) || len(name) < 3 || len(name) > maxPairName || strings.ContainsAny(name, "= ") {
		return false
	}
	m := sc.meaningOf(name, "")
	return m.kind == kindSecret && !m.path
}

// elements masks the text of XML elements that are named like secrets.
func (sc *scanner) elements(s string) string {
	r := rewriter{src: s}
	for i := 0; i < len(s); {
		open := strings.IndexByte(s[i:], '<')
		if open < 0 {
			break
		}
		open += i
		end := runEnd(s, open+1, nameChar|dot)
		i = max(end, open+1)
		if end == open+1 || end >= len(s) || s[end] != '>' || end-open > maxPairName {
			continue
		}
		stop := strings.Index(s[end:min(len(s), end+maxElement)], "</")
		if stop < 0 {
			continue
		}
		if from, to := end+1, end+stop; sc.meaningOf(s[open+1:end], "").kind == kindSecret && !saysNothing(s[from:to]) &&
			!strings.Contains(s[from:to], "<") {
			r.replace(from, to, sc.hide(s[from:to]))
			i = to
		}
	}
	return r.String()
}

// indexed masks text that an expression compares with or assigns to a field of a
// secret's name: attributes["password"] == "x", set(attributes["token"], "x").
func (sc *scanner) indexed(s string) string {
	r := rewriter{src: s}
	for i := 0; i < len(s); {
		bracket := strings.IndexByte(s[i:], ']')
		if bracket < 0 {
			break
		}
		bracket += i
		i = bracket + 1
		if bracket < 2 || !isQuote(s[bracket-1]) {
			continue
		}
		from := bracket - 1
		for from > 0 && bracket-from < maxPairName && !isQuote(s[from-1]) {
			from--
		}
		if sc.meaningOf(s[from:bracket-1], "").kind != kindSecret {
			continue
		}
		quote := i
		for quote < len(s) && quote-i < 2*maxPairGap && strings.IndexByte(" ,=!", s[quote]) >= 0 {
			quote++
		}
		if quote == i || quote >= len(s) || s[quote] != '"' && s[quote] != '\'' {
			continue
		}
		end := closingQuote(s, quote, false)
		if v := s[quote+1 : end]; !saysNothing(v) {
			r.replace(quote+1, end, sc.hide(v))
		}
		i = end
	}
	return r.String()
}
