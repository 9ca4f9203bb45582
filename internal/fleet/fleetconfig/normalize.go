// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetconfig

import (
	"net/netip"
	"slices"
	"strings"
)

// identityKeys are keys whose values differ from instance to instance.
var identityKeys = []string{
	"service.instance.id", "instance_uid", "instance_id", "instance.id",
	"host.name", "host.id", "host.ip", "hostname", "host_name", "node_name", "nodename",
	"k8s.pod.name", "k8s.pod.uid", "k8s.pod.ip", "k8s.node.name", "k8s.node.uid", "pod_name", "pod_uid", "pod_ip",
	"container.id", "container.name", "container_id", "process.pid", "cloud.resource_id",
}

func isIdentity(key string) bool { return slices.Contains(identityKeys, strings.ToLower(key)) }

// What stands for what differs between instances.
const (
	anyInstance = "<instance>"
	anyID       = "<id>"
	anyIP       = "<ip>"
)

// normalize takes out of the entries what differs between instances of one config. The entries are changed.
func normalize(list []entry) {
	named := map[int]bool{} // items of lists that say {key: host.name, value: web-1}
	for i := range list {
		if e := &list[i]; e.item != 0 && (e.key == "key" || e.key == "name") && isIdentity(e.value) {
			named[e.item] = true
		}
	}
	for i := range list {
		e := &list[i]
		switch {
		case e.value == "":
		case isIdentity(e.key), e.key == "value" && named[e.item]:
			e.value = anyInstance
		default:
			e.value = normalizeWords(e.value, listens(e))
		}
		e.path = normalizeWords(e.path, false)
	}
}

// listens reports whether an address here is the agent's own.
func listens(e *entry) bool {
	section, sub := e.section()
	return section == "receivers" || section == "extensions" || (section == "service" && sub == "telemetry")
}

// normalizeWords takes identifiers, and where asked for addresses, out of a text.
func normalizeWords(s string, addresses bool) string {
	if !hasDigit(s) {
		return s
	}
	var b strings.Builder
	kept := 0 // s[:kept] is in b
	for i := 0; i < len(s); {
		n := wordLength(s[i:])
		if word := s[i : i+n]; n >= minWord {
			if normal := normalizeWord(word, addresses); normal != word {
				b.WriteString(s[kept:i])
				b.WriteString(normal)
				kept = i + n
			}
		}
		i += max(n, 1)
	}
	if kept == 0 {
		return s
	}
	b.WriteString(s[kept:])
	return b.String()
}

// minWord is the least length of a word that may be an identifier or an address: 1.2.3.4, ab-x2x4z.
const minWord = 7

func hasDigit(s string) bool {
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			return true
		}
	}
	return false
}

// wordLength is how much of s is letters, digits, and what joins them to names.
func wordLength(s string) int {
	for i := range len(s) {
		c := s[i]
		isWord := (c|0x20) >= 'a' && (c|0x20) <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
		if !isWord {
			return i
		}
	}
	return len(s)
}

func normalizeWord(s string, addresses bool) string {
	switch {
	case !hasDigit(s):
		return s
	case isUUID(s), isLongHex(s):
		return anyID
	case isCloudHost(s):
		return anyInstance
	}
	if addresses && s[0] >= '0' && s[0] <= '9' {
		if ip, err := netip.ParseAddr(s); err == nil {
			if ip.IsLoopback() || ip.IsUnspecified() {
				return s
			}
			return anyIP
		}
	}
	return withoutPodEnd(s)
}

func isUUID(s string) bool {
	return len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' && isHex(strings.ReplaceAll(s, "-", ""))
}

func isLongHex(s string) bool {
	return len(s) >= 16 && isHex(s) && strings.Trim(s, "0123456789") != ""
}

func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// isCloudHost takes ip-10-0-1-23.ec2.internal and the like.
func isCloudHost(s string) bool {
	rest, ok := strings.CutPrefix(s, "ip-")
	if !ok {
		return false
	}
	first, _, _ := strings.Cut(rest, ".")
	parts := strings.Split(first, "-")
	return len(parts) == 4 && strings.Trim(first, "0123456789-") == ""
}

// podLetters are what Kubernetes makes the ends of names of.
const podLetters = "bcdfghjklmnpqrstvwxz2456789"

// withoutPodEnd takes the random end off the name of a pod: web-5d8f7b9c6d-x2x4z, agent-x2x4z. An end without a
// digit is taken for a word, unless the hash of a replica set is before it.
func withoutPodEnd(s string) string {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 || len(s)-i-1 != 5 || strings.Trim(s[i+1:], podLetters) != "" {
		return s
	}
	end := s[i+1:]
	if j := strings.LastIndexByte(s[:i], '-'); j > 0 {
		hash := s[j+1 : i]
		if len(hash) >= 8 && len(hash) <= 10 && strings.Trim(hash, podLetters) == "" && strings.ContainsAny(hash, "2456789") {
			return s[:j+1] + anyID
		}
	}
	if strings.ContainsAny(end, "2456789") && strings.Trim(end, "0123456789") != "" {
		return s[:i+1] + anyID
	}
	return s
}
