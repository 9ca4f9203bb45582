#!/usr/bin/env bash
# Copyright The Fleetview Authors
# SPDX-License-Identifier: Apache-2.0

# Prints the path of a Chromium for the browser tests: $CHROMIUM if it is set, else the first one on
# the PATH. Without one it is installed from Debian's packages if that is allowed here.

set -euo pipefail

find_chromium() {
  local name
  for name in ${CHROMIUM:-chromium chromium-browser google-chrome google-chrome-stable}; do
    command -v "$name" && return
  done
  return 1
}

install_chromium() {
  [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || return 1
  local DEBIAN_FRONTEND=noninteractive
  export DEBIAN_FRONTEND
  { apt-get update -q && apt-get install -qy --no-install-recommends chromium fonts-dejavu-core; } >&2
}

find_chromium && exit
if [ -z "${CHROMIUM:-}" ] && install_chromium; then
  find_chromium && exit
fi
echo "the end-to-end tests need a Chromium: install it (Debian: apt-get install -y chromium)" \
  "or name one with CHROMIUM=/path/to/it" >&2
exit 1
