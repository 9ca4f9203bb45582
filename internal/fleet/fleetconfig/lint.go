// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetconfig

import (
	"net/netip"
	"slices"
	"strings"
)

// Finding is a risky setting. It never holds the value.
type Finding struct {
	Rule string
	// Place is the path to it, in the Collector's way: exporters::otlp::tls::insecure.
	Place string
	// Note says more than the rule does, where there is more to say.
	Note string
}

// Rule of the lint.
type Rule struct {
	ID string
	// Help says what the risk is, and what would do.
	Help string
}

// Rules of the lint, the gravest first. The result must not be changed.
func Rules() []Rule { return rules }

const (
	ruleSecret      = "secret"
	rulePlaintext   = "plaintext"
	ruleSkipVerify  = "tls-skip-verify"
	ruleListensAll  = "listens-everywhere"
	ruleNoLimiter   = "no-memory-limiter"
	ruleLateLimiter = "memory-limiter-not-first"
	ruleDebug       = "debug-exporter"
	ruleDebugLog    = "debug-log"
	ruleRemoved     = "removed-component"
	ruleDeprecated  = "deprecated-component"
)

var rules = []Rule{
	{ruleSecret, "A value under the name of a secret is readable here, so it was not masked. Take it from a file or the environment, and give it another value."},
	{rulePlaintext, "Data is sent to another host without TLS. Set tls, or use an https endpoint."},
	{ruleSkipVerify, "The certificate of the other side is not verified, so anybody may be it. Give ca_file instead."},
	{ruleListensAll, "It listens on every interface. Give the address of the one that is meant."},
	{ruleRemoved, "Newer distributions of the Collector don't have this component, so this collector can't be updated as it is configured."},
	{ruleNoLimiter, "A pipeline has no memory_limiter: when the other side is slow, the collector may be killed for its memory."},
	{ruleLateLimiter, "memory_limiter is not the first processor of its pipeline, so what comes before it is not limited."},
	{ruleDeprecated, "The Collector's maintainers have deprecated this component: a later version will come without it."},
	{ruleDebug, "A pipeline writes its data to the log. That is for a try, not for ever."},
	{ruleDebugLog, "The collector logs at debug level."},
}

// maxFindings bounds what is listed of one config.
const maxFindings = 100

func lint(list []entry) []Finding {
	l := linter{endpoints: map[string]string{}, insecure: map[string]bool{}, pipelines: map[string][]string{}}
	for i := range list {
		l.look(&list[i])
	}
	l.conclude()
	slices.SortStableFunc(l.found, func(a, b Finding) int { return ruleRank(a.Rule) - ruleRank(b.Rule) })
	return l.found[:min(len(l.found), maxFindings)]
}

func ruleRank(id string) int {
	return slices.IndexFunc(rules, func(r Rule) bool { return r.ID == id })
}

// linter gathers what only together is a finding.
type linter struct {
	found     []Finding
	endpoints map[string]string // of exporters, by id
	insecure  map[string]bool   // exporters whose TLS is off, by id
	order     []string          // exporters and pipelines, as they come
	pipelines map[string][]string
}

func (l *linter) report(rule string, e *entry) {
	l.found = append(l.found, Finding{Rule: rule, Place: e.place()})
}

func (l *linter) look(e *entry) {
	section, id := e.section()
	l.lookAtType(section, id, e)
	switch section {
	case "exporters":
		if id != "" {
			l.lookAtExporter(id, e)
		}
	case "receivers", "extensions":
		if isEndpointKey(e.key) && isEverywhere(e.value) {
			l.report(ruleListensAll, e)
		}
	case "service":
		l.lookAtService(id, e)
	}
	if e.key == "insecure_skip_verify" && e.value == "true" {
		l.report(ruleSkipVerify, e)
	}
	if isSecretKey(e.key) && isReadable(e.value) {
		l.report(ruleSecret, e)
	}
}

func isEndpointKey(key string) bool {
	return key == "endpoint" || key == "listen_address" || key == "address"
}

func (l *linter) lookAtExporter(id string, e *entry) {
	switch {
	case e.path[1:] == "exporters"+separator+id:
		l.order = append(l.order, id)
	case e.key == "endpoint" || strings.HasSuffix(e.key, "_endpoint"):
		if l.endpoints[id] == "" || strings.HasPrefix(e.value, "http://") {
			l.endpoints[id] = e.value
		}
	case e.key == "insecure" && e.value == "true":
		l.insecure[id] = true
	}
}

// logLevel is the path to the level at which a collector logs.
const logLevel = separator + "service" + separator + "telemetry" + separator + "logs" + separator + "level"

func (l *linter) lookAtService(part string, e *entry) {
	if e.path == logLevel && strings.EqualFold(e.value, "debug") {
		l.report(ruleDebugLog, e)
	}
	if part != "pipelines" {
		return
	}
	keys := e.keys()
	if len(keys) < 3 {
		return
	}
	pipeline := "service::pipelines::" + keys[2]
	switch {
	case len(keys) == 3:
		l.order = append(l.order, pipeline)
		l.pipelines[pipeline] = []string{}
	case keys[3] == "processors" && e.value != "":
		l.pipelines[pipeline] = append(l.pipelines[pipeline], typeOf(e.value))
	case keys[3] == "exporters" && onlyShows(typeOf(e.value)) && typeOf(e.value) != "nop":
		l.report(ruleDebug, e)
	}
}

func (l *linter) conclude() {
	for _, name := range l.order {
		if processors, ok := l.pipelines[name]; ok {
			switch i := slices.Index(processors, "memory_limiter"); {
			case i < 0:
				l.found = append(l.found, Finding{Rule: ruleNoLimiter, Place: name})
			case i > 0:
				l.found = append(l.found, Finding{Rule: ruleLateLimiter, Place: name + "::processors"})
			}
			continue
		}
		endpoint := l.endpoints[name]
		if (l.insecure[name] || strings.HasPrefix(endpoint, "http://")) && isElsewhere(endpoint) {
			l.found = append(l.found, Finding{Rule: rulePlaintext, Place: "exporters::" + name})
		}
	}
}

// isEverywhere takes 0.0.0.0:4317, [::]:4317 and :4317.
func isEverywhere(endpoint string) bool {
	host, port, ok := cutPort(endpoint)
	if !ok || port == "" || strings.Trim(port, "0123456789") != "" {
		return false
	}
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsUnspecified()
}

func cutPort(endpoint string) (host, port string, ok bool) {
	i := strings.LastIndexByte(endpoint, ':')
	if i < 0 {
		return endpoint, "", false
	}
	return endpoint[:i], endpoint[i+1:], true
}

// isElsewhere reports whether an endpoint is on another host. What is not known (a reference) isn't.
func isElsewhere(endpoint string) bool {
	if _, rest, ok := strings.Cut(endpoint, "://"); ok {
		endpoint = rest
	}
	endpoint, _, _ = strings.Cut(endpoint, "/")
	host, _, _ := cutPort(endpoint)
	host = strings.Trim(host, "[]")
	if host == "" || host == "localhost" || strings.Contains(endpoint, "${") {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback()
}

var secretWords = []string{"password", "passwd", "secret", "secret_key", "secret_access_key", "api_key", "apikey", "token", "auth_token", "bearer_token", "access_token", "private_key", "client_secret"}

func isSecretKey(key string) bool {
	key = strings.ToLower(key)
	for _, w := range secretWords {
		rest, ok := strings.CutSuffix(key, w)
		if ok && (rest == "" || strings.HasSuffix(rest, "_") || strings.HasSuffix(rest, "-")) {
			return true
		}
	}
	return false
}

// isReadable reports whether a value is neither masked nor a reference.
func isReadable(v string) bool {
	return len(v) > 1 && v != "true" && v != "false" && !strings.Contains(v, "REDACTED") && !strings.Contains(v, "${") &&
		strings.Trim(v, "*xX•<>.") != ""
}
