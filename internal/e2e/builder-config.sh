#!/usr/bin/env bash
# Copyright The Fleetview Authors
# SPDX-License-Identifier: Apache-2.0

# Prints the distribution's manifest with two more components: an exporter whose status a test sets,
# and a processor that talks with the OpAMP server.

set -euo pipefail

sed -e 's,otelcol-fleetview$,otelcol-fleetview-e2e,' -e 's,/build$,/build-e2e,' \
  -e '/^exporters:$/a \
  - gomod: github.com/otel-fleetview/fleetview v0.1.0\
    import: github.com/otel-fleetview/fleetview/internal/e2e/statusexporter\
    path: .\
' \
  -e '/^processors:$/a \
  - gomod: github.com/otel-fleetview/fleetview v0.1.0\
    import: github.com/otel-fleetview/fleetview/internal/e2e/pingprocessor\
    path: .\
' "$1"
