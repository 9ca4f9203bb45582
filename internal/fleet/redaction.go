// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/redact"
)

// redaction takes the secrets out of what agents tell before any of it is kept. Agents of ours have done that
// themselves; others may not. It is safe for concurrent use.
type redaction struct {
	// Fixed at construction.
	rules     *redact.Rules
	maxConfig int // bytes of a body that are looked at; no more is kept

	mu    sync.Mutex
	known map[[sha256.Size]byte]*cleaned // by the hash of a body as it was sent
	order [][sha256.Size]byte            // of known, the oldest first
	bytes int                            // of the texts in known
}

// cleaned is a body of a config without its secrets. It is made once, however many agents have it.
type cleaned struct {
	size    int // bytes as it was looked at; fixed at construction
	once    sync.Once
	body    []byte
	masked  int
	secrets *redact.Secrets
}

// Bounds of the bodies that are remembered.
const (
	maxCleaned      = 4096
	maxCleanedBytes = 32 << 20
)

// lightSecrets is about what the secrets of a config of usual size take, in bytes. They are remembered whatever else is
// given up.
const lightSecrets = 16 << 10

func newRedaction(rules *redact.Rules, l Limits) *redaction {
	return &redaction{rules: rules, maxConfig: l.MaxConfigBytes, known: map[[sha256.Size]byte]*cleaned{}}
}

// masks are what is known of the secrets of one agent, so that they are found where they come back.
type masks struct {
	known   bool // its config was seen by this process, all of it
	secrets *redact.Secrets
	before  *redact.Secrets // of the config that it had before: what went wrong with that may be told late
}

// blind reports whether errors of the agent may hold secrets that nobody knows: it has a config that was not seen, or not
// all of it, or was seen by a process before this one, or was given up with its secrets.
func (a *Agent) blind(caps Capabilities) bool {
	switch {
	case a == nil:
		return caps&reportsConfig != 0
	case a.masks.known:
		return false
	case a.Dropped&PartConfig != 0:
		return true
	case a.Config != nil:
		return a.Config.mayHideSecrets()
	default:
		return a.Capabilities&reportsConfig != 0 && !a.talk.synced
	}
}

// all are the sets of secrets that are known. There is at least one, which may be empty.
func (m masks) all() []*redact.Secrets {
	if m.before == nil {
		return []*redact.Secrets{m.secrets}
	}
	return []*redact.Secrets{m.secrets, m.before}
}

func (m masks) bytes() (n int) {
	for _, known := range m.all() {
		n += known.Bytes()
	}
	return n
}

func (m masks) equal(other masks) bool {
	return m.known == other.known && m.secrets.Equal(other.secrets) && m.before.Equal(other.before)
}

// beforeThat are the secrets to remember of the config before one with the secrets in is.
func (m masks) beforeThat(is *redact.Secrets) *redact.Secrets {
	if m.secrets.Equal(is) {
		return m.before // told once more
	}
	return m.secrets
}

// tellsAnything reports whether a message has texts in which secrets may be.
func tellsAnything(msg *protobufs.AgentToServer) bool {
	return msg.GetAgentDescription() != nil || msg.GetHealth() != nil || msg.GetEffectiveConfig() != nil ||
		msg.GetCustomMessage() != nil || msg.GetCustomCapabilities() != nil || msg.GetAvailableComponents() != nil
}

// masking is what became of the secrets of one message.
type masking struct {
	masks masks // what is known of the agent's secrets from now on, if the message has a config
	// masked counts the values of its config that were masked; sizes are those of the bodies that were too big to be
	// looked at in whole, as they were sent.
	masked int
	sizes  map[string]int
	// begins is how its custom message begins, where that was too big to be looked at in whole.
	begins []byte
}

// clean takes the secrets out of msg, in its place.
func (r *redaction) clean(msg *protobufs.AgentToServer, prev *Agent) (out masking) {
	m := &out.masks
	if prev != nil {
		*m = prev.masks
	}
	c := cleaner{rules: r.rules, secrets: m.all()}
	if files := msg.GetEffectiveConfig().GetConfigMap().GetConfigMap(); msg.GetEffectiveConfig() != nil {
		was := *m
		*m = masks{known: true}
		cleanNames(&c, files) // a name may be an address
		room := r.maxConfig   // no more is kept of all of them
		for _, name := range sortedKeys(files) {
			body := files[name].GetBody()
			done := r.config(body, room)
			if o := files[name]; o != nil {
				o.Body = done.body
			}
			if len(body) > room {
				out.noteSize(name, len(body))
				m.known = false
			}
			room = max(0, room-len(body))
			out.masked += done.masked
			m.secrets = join(m.secrets, done.secrets)
		}
		m.before = was.beforeThat(m.secrets)
		c.secrets = append(c.secrets, m.secrets)
		c.withheld = !m.known
	} else {
		c.withheld = prev.blind(Capabilities(msg.GetCapabilities()))
	}
	c.attributes(msg.GetAgentDescription().GetIdentifyingAttributes())
	c.attributes(msg.GetAgentDescription().GetNonIdentifyingAttributes())
	c.health(msg.GetHealth(), 0)
	c.components(msg.GetAvailableComponents().GetComponents(), 0)
	for i, capability := range msg.GetCustomCapabilities().GetCapabilities() {
		msg.CustomCapabilities.Capabilities[i] = c.text(capability)
	}
	out.begins = c.message(msg.GetCustomMessage())
	return out
}

func (m *masking) noteSize(name string, size int) {
	if m.sizes == nil {
		m.sizes = map[string]int{}
	}
	m.sizes[name] = size
}

// join is what both sets know. Mostly one of them is empty, and then agents with the same config share the other.
func join(a, b *redact.Secrets) *redact.Secrets {
	switch {
	case b.Len() == 0:
		return a
	case a.Len() == 0:
		return b
	default:
		return a.Join(b)
	}
}

// config masks as much of one body as there is room for, or remembers how that went.
func (r *redaction) config(body []byte, room int) *cleaned {
	if len(body) > room { // a line that is cut could hide what it says
		body = body[:room]
		body = body[:max(0, bytes.LastIndexByte(body, '\n')+1)]
	}
	if len(body) == 0 {
		return &cleaned{body: body}
	}
	c := r.remember(sha256.Sum256(body), len(body))
	c.once.Do(func() {
		out, masked, secrets := r.rules.Document(string(body))
		c.body, c.masked, c.secrets = []byte(out), masked, secrets
	})
	return c
}

func (r *redaction) remember(sum [sha256.Size]byte, size int) *cleaned {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.known[sum]; c != nil {
		return c
	}
	for len(r.order) > 0 && (len(r.order) >= maxCleaned || r.bytes+size > maxCleanedBytes) {
		r.bytes -= r.known[r.order[0]].size
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
	c := &cleaned{size: size}
	r.known[sum] = c
	r.order = append(r.order, sum)
	r.bytes += size
	return c
}

// cleaner takes secrets out of the texts of one message.
type cleaner struct {
	rules    *redact.Rules
	secrets  []*redact.Secrets
	withheld bool // errors can't be cleaned, for it is not known of what
}

// maxCleanText bounds a text that is looked at, in bytes: more than is kept of any.
const maxCleanText = 16 << 10

// looked is as much of s as is looked at, without the last word, which may be the beginning of a secret.
func looked(s string) string {
	if len(s) <= maxCleanText {
		return s
	}
	s = head(s, maxCleanText)
	if i := strings.LastIndexAny(s, " \t\n\",;"); i > 0 {
		s = s[:i]
	}
	return s
}

func (c *cleaner) text(s string) string {
	if s == "" {
		return s
	}
	s = looked(s)
	for _, known := range c.secrets {
		s = c.rules.Text(s, known)
	}
	return s
}

// failure is an error text.
func (c *cleaner) failure(s string) string {
	if c.withheld && s != "" {
		return redact.Mask
	}
	return c.text(s)
}

func (c *cleaner) health(h *protobufs.ComponentHealth, depth int) {
	if h == nil || depth > maxCleanDepth {
		return
	}
	h.LastError, h.Status = c.failure(h.LastError), c.text(h.Status)
	c.attributes(h.Attributes)
	for _, below := range h.ComponentHealthMap {
		c.health(below, depth+1)
	}
	cleanNames(c, h.ComponentHealthMap)
}

// components is what an agent is built of. A list in which something is masked is not what its hash says any more, and
// so stays its agent's alone.
func (c *cleaner) components(list map[string]*protobufs.ComponentDetails, depth int) {
	if depth > maxCleanDepth {
		return
	}
	for _, d := range list {
		c.attributes(d.GetMetadata())
		c.components(d.GetSubComponentMap(), depth+1)
	}
	cleanNames(c, list)
}

// cleanNames masks in the keys of a map. Of two that become the same one stays.
func cleanNames[V any](c *cleaner, named map[string]V) {
	for name, v := range named {
		if clean := c.text(name); clean != name {
			delete(named, name)
			named[clean] = v
		}
	}
}

// maxCleanDepth is more than is kept of any tree.
const maxCleanDepth = 64

// attributes masks by name as a configuration would: the value of a key like api_token is a secret, whatever it looks
// like.
func (c *cleaner) attributes(list []*protobufs.KeyValue) {
	if len(list) == 0 {
		return
	}
	named := make(map[string]any, len(list))
	for _, a := range list {
		if s, ok := a.GetValue().GetValue().(*protobufs.AnyValue_StringValue); ok {
			s.StringValue = looked(s.StringValue)
			named[a.GetKey()] = s.StringValue
		}
	}
	clean := c.rules.Config(named, nil).Config
	for _, a := range list {
		s, ok := a.GetValue().GetValue().(*protobufs.AnyValue_StringValue)
		if !ok {
			c.value(a.GetKey(), a.GetValue(), 0)
			continue
		}
		if s.StringValue == named[a.GetKey()] { // else it is one of two with this name
			s.StringValue, _ = clean[a.GetKey()].(string)
		} else {
			s.StringValue = c.named(a.GetKey(), s.StringValue)
		}
		s.StringValue = c.text(s.StringValue)
	}
	for _, a := range list { // at the end: what stands under a name is known by that
		if a != nil {
			a.Key = c.text(a.Key)
		}
	}
}

func (c *cleaner) named(key, value string) string {
	out, _ := c.rules.Config(map[string]any{key: value}, nil).Config[key].(string)
	return out
}

// value masks within lists and maps, and numbers that stand under the name of a secret.
func (c *cleaner) value(key string, v *protobufs.AnyValue, depth int) {
	if depth > maxCleanDepth {
		return
	}
	switch v := v.GetValue().(type) {
	case *protobufs.AnyValue_StringValue:
		v.StringValue = c.text(c.named(key, looked(v.StringValue)))
	case *protobufs.AnyValue_BytesValue:
		if utf8.Valid(v.BytesValue) {
			v.BytesValue = []byte(c.text(c.named(key, looked(string(v.BytesValue)))))
		}
	case *protobufs.AnyValue_ArrayValue:
		for _, item := range v.ArrayValue.GetValues() {
			c.value(key, item, depth+1)
		}
	case *protobufs.AnyValue_KvlistValue:
		c.attributes(v.KvlistValue.GetValues())
	}
}

// message masks the data of a custom message, if it is a text. One that has a form of its own is decoded, and shown,
// by the room that knows it. Of one that only begins as a text, or is too big to be looked at in whole, it returns what may
// be kept.
func (c *cleaner) message(m *protobufs.CustomMessage) (begins []byte) {
	if m != nil {
		m.Capability, m.Type = c.text(m.Capability), c.text(m.Type)
	}
	data := m.GetData()
	text := textOf(data[:min(len(data), maxCleanText+utf8.UTFMax)])
	switch out := c.text(text); {
	case len(text) > maxCleanText:
		return []byte(out)
	case len(text) == len(data):
		if out != text {
			m.Data = []byte(out)
		}
	case text != "":
		return slices.Concat([]byte(out), data[len(text):min(len(data), len(text)+maxMessageData)])
	}
	return nil
}

// textOf is the beginning of data that is UTF-8.
func textOf(data []byte) string {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return string(data[:i])
		}
		i += n
	}
	return string(data)
}
