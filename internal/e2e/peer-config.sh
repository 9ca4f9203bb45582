#!/usr/bin/env bash
# Copyright The Fleetview Authors
# SPDX-License-Identifier: Apache-2.0

# Prints the distribution's manifest with contrib's opamp extension in place of all that is ours, so
# that both can be put to the same tests. The two cannot be in one binary: contrib's needs another
# opamp-go.

set -euo pipefail

awk '
  /^  - gomod: / { ours = /fleetview\/fleetview/ }
  /^  - gomod: / && ours { next }
  /^    (import|path): / && ours { next }
  { print }
  /^extensions:$/ {
    print "  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/extension/opampextension v0.149.0"
  }
' "$1" | sed -e 's,otelcol-fleetview$,otelcol-peer,' -e 's,/build$,/build-peer,'
