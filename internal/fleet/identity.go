// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Identity says by which attributes an agent is recognized when it comes back with another instance UID: the first of
// the lists all of whose attributes it tells. service.name, and k8s.cluster.name and service.namespace where it tells
// them, always count as well.
type Identity [][]string

// DefaultIdentity are the lists for Kubernetes workloads, from the narrowest, and for hosts.
//
// A name that Kubernetes makes for the pod of a Deployment stands for the Deployment: what its end says is which run
// it is.
func DefaultIdentity() Identity {
	return Identity{
		{"k8s.namespace.name", "k8s.daemonset.name", "k8s.node.name"},
		{"k8s.namespace.name", "k8s.statefulset.name", "k8s.pod.name"},
		{"k8s.namespace.name", "k8s.deployment.name"},
		{"k8s.namespace.name", "k8s.pod.name"},
		{"k8s.node.name"},
		{"host.id", "host.name"},
		{"host.name"},
	}
}

// alwaysIdentity are attributes that belong to every identity, as far as they are told.
var alwaysIdentity = []string{"service.name", "service.namespace", "k8s.cluster.name"}

// maxLogical bounds a logical identity, in bytes.
const maxLogical = 256

// of is the logical identity of who is described so, empty where no list fits.
func (id Identity) of(d *Description) string {
	if d == nil {
		return ""
	}
	for _, keys := range id {
		if parts := identityParts(d, keys); parts != nil {
			for _, key := range alwaysIdentity {
				if v := d.attribute(key); v != "" {
					parts = append(parts, key+"="+v)
				}
			}
			return boundLogical(strings.Join(parts, ","))
		}
	}
	return ""
}

// identityParts is nil where the agent doesn't tell all of keys.
func identityParts(d *Description, keys []string) (parts []string) {
	for i, key := range keys {
		value := d.attribute(key)
		if value == "" {
			return nil
		}
		if key == "k8s.pod.name" || key == "host.name" {
			workload := workloadOf(value)
			if workload != value && i > 0 && keys[0] == "host.id" {
				return nil // a pod's machine is not what it is known by
			}
			value = workload
		}
		parts = append(parts, key+"="+value)
	}
	return parts
}

// boundLogical keeps long identities apart by their hash.
func boundLogical(s string) string {
	if len(s) <= maxLogical {
		return strings.Clone(s)
	}
	h := sha256.Sum256([]byte(s))
	return head(s, maxLogical-17) + "#" + hex.EncodeToString(h[:8])
}

// podOfDeployment is how Kubernetes names the pods of a Deployment: its name, the hash of the template, five letters,
// both of the letters that make no words.
var podOfDeployment = regexp.MustCompile(`^(.+)-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$`)

// workloadOf is the name of the Deployment where name is that of one of its pods, else name.
func workloadOf(name string) string {
	if m := podOfDeployment.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return name
}
