// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"path"
	"strings"

	"go.opentelemetry.io/collector/pipeline"
)

// Signals in the order in which they are tried where a key does not tell.
var signals = [...]pipeline.Signal{pipeline.SignalTraces, pipeline.SignalMetrics, pipeline.SignalLogs}

// Claim says which objects are the receiver's, and which signal is in them, by their keys alone.
type Claim struct {
	Bucket string
	// Prefix is the folder they are in, empty for the whole bucket: logs is not logs2/.
	Prefix string
	// FilePrefix stands before the signal in the name of a file.
	FilePrefix string
	// NamesSignal is whether the name of a file begins with its signal, as in traces_1.json.
	NamesSignal bool
	// Takes is whether a key is one of those that are to be read.
	Takes func(key string) bool
}

// holds is whether the key is in the folder. The exporter writes the folder cleaned, but it may have
// been written as it stands in the configuration.
func (c *Claim) holds(key string) bool {
	folder := strings.TrimRight(c.Prefix, "/")
	if folder == "" || isIn(key, folder) {
		return true
	}
	cleaned := path.Clean(folder)
	return isIn(key, cleaned) || isIn(key, strings.TrimLeft(cleaned, "/"))
}

func isIn(key, folder string) bool {
	return strings.HasPrefix(key, folder) && len(key) > len(folder) && key[len(folder)] == '/'
}

// signal is what the name of the file says is in it.
func (c *Claim) signal(key string) (signal pipeline.Signal, ok bool) {
	if !c.NamesSignal {
		return pipeline.Signal{}, false
	}
	for _, before := range [...]string{c.FilePrefix, ""} {
		for _, signal := range signals {
			if isNamed(key, before+signal.String()+"_") {
				return signal, true
			}
		}
	}
	return pipeline.Signal{}, false
}

// isNamed is whether the last part of the key begins with name. A file prefix may hold a slash.
func isNamed(key, name string) bool {
	i := strings.LastIndex(key, name)
	return i >= 0 && (i == 0 || key[i-1] == '/') && !strings.Contains(key[i+len(name):], "/")
}
