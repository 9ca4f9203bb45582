#!/usr/bin/env bash
# Copyright The Fleetview Authors
# SPDX-License-Identifier: Apache-2.0

# Prints the distribution's manifest with three more components: an exporter whose status a test sets,
# a processor that talks with the OpAMP server, and contrib's authenticator by OpenID Connect, of the
# newest version before the Collector's that resolves.

set -euo pipefail

sed -e 's,otelcol-fleetview$,otelcol-fleetview-e2e,' -e 's,/build$,/build-e2e,' \
  -e '/^extensions:$/a \
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/extension/oidcauthextension v0.152.0
' \
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
