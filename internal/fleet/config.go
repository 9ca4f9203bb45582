// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"strings"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// Config is the effective config: what an agent says that it runs.
type Config struct {
	// Files are sorted by name. A Collector has one, whose name is empty.
	Files []ConfigFile
	// Omitted counts files that were more than the limit.
	Omitted int
	// Masked counts values that were secrets and are not in Files any more. An agent of ours masks them itself.
	Masked int

	sum   sum
	bytes int
}

// ConfigFile is one file of an effective config.
type ConfigFile struct {
	Name        string
	ContentType string
	Role        string
	// Body is valid UTF-8; other bytes were replaced by U+FFFD.
	Body string
	// Size is the length of the body as it was sent, but for its secrets, in bytes.
	Size int
	// Truncated says that Body is only the beginning.
	Truncated bool
}

// Hash is the SHA-256 of the whole config, in hex: equal for equal configs.
func (c *Config) Hash() string { return c.sum.String() }

// mayHideSecrets reports whether the config had secrets, or may have had some where it was cut.
func (c *Config) mayHideSecrets() bool {
	return c.Masked > 0 || slices.ContainsFunc(c.Files, func(f ConfigFile) bool { return f.Truncated })
}

func decodeConfig(c *cutter, ec *protobufs.EffectiveConfig, m masking) *Config {
	files := ec.GetConfigMap().GetConfigMap()
	out := &Config{Masked: m.masked}
	room := c.limits.MaxConfigBytes
	for i, name := range sortedKeys(files) {
		if i == c.limits.MaxConfigFiles {
			c.note(CutConfigFiles)
			out.Omitted = len(files) - i
			break
		}
		f := decodeConfigFile(c, name, files[name], room)
		if size := m.sizes[name]; size > 0 {
			c.note(CutConfigBytes)
			f.Size, f.Truncated = size, true
		}
		room -= len(f.Body)
		out.bytes += len(f.Body) + fileBytes
		out.Files = append(out.Files, f)
	}
	out.sum = out.hash()
	out.bytes += c.spent() + nodeBytes
	return out
}

func decodeConfigFile(c *cutter, name string, o *protobufs.AgentConfigObject, room int) ConfigFile {
	f := ConfigFile{
		Name:        c.name(name),
		ContentType: c.name(o.GetContentType()),
		Role:        c.name(o.GetRole()),
		Size:        len(o.GetBody()),
	}
	body := o.GetBody()
	if len(body) > room {
		c.note(CutConfigBytes)
		f.Truncated = true
		body = body[:max(room, 0)]
	}
	f.Body = strings.ToValidUTF8(string(body), "\uFFFD")
	if len(f.Body) > room { // the replacement is longer than what it replaces
		c.note(CutConfigBytes)
		f.Truncated = true
		f.Body = strings.Clone(head(f.Body, room))
	}
	return f
}

func (c *Config) hash() sum {
	h := newHasher()
	h.int(c.Omitted)
	for _, f := range c.Files {
		h.text(f.Name)
		h.text(f.ContentType)
		h.text(f.Role)
		h.text(f.Body)
		h.int(f.Size)
	}
	if c.Masked > 0 {
		h.int(c.Masked)
	}
	return h.sum()
}
