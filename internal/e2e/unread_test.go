// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	fleetstate "github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// TestPagesWhileConfigsAreRead has more configs come at once than a question reads: the pages say so without barriers, and
// come up to date without a reload when all are read.
func TestPagesWhileConfigsAreRead(t *testing.T) {
	t.Parallel()
	axe := axeCore(t)
	p := servePages(t)
	const many = 5000
	for n := range many {
		uid := opampwire.InstanceUID{1, 0x9c, 14: byte(n >> 8), 15: byte(n)}
		require.Nil(t, p.fleet.Report(fleetstate.Conn{ID: 1, Transport: fleetstate.TransportWebSocket}, &protobufs.AgentToServer{
			InstanceUid: uid.Bytes(), Capabilities: 1,
			EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
				ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: fmt.Appendf(nil, "receivers:\n  otlp/%d:\n", n)}},
			}},
		}, time.Now()).GetErrorResponse())
	}
	b := openBrowser(t)
	for name, path := range map[string]string{"overview": "/", "collectors": "/agents", "configs": "/configs"} {
		for way, how := range map[string][]action{"": {wide, light}, "-dark": {wide, dark}, "-narrow": {narrow, light}} {
			b.do(t, name+" does not load", append(how, chromedp.Navigate(p.url+path))...)
			b.sees(t, "configs are still being read")
			evaluate[any](t, b, axe+"; null")
			b.until(t, "!document.getAnimations().some((a) => a instanceof CSSTransition)")
			assert.Empty(t, awaited[[]string](t, b, violations), "%s%s", name, way)
			b.assertFits(t)
			b.picture(t, "unread-"+name+way)
		}
	}
	b.do(t, "the configs do not load", wide, light, chromedp.Navigate(p.url+"/configs"))
	b.sees(t, "configs are still being read")
	b.markAsLoaded(t)
	for p.index.Read(64) > 0 { //nolint:revive // it does the work
	}
	b.until(t, `!document.body.innerText.includes("still being read")`)
	b.assertNotReloaded(t)
	b.assertNoComplaints(t)
}
