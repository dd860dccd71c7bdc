#!/bin/sh
# What the image is made of; the test runs the same in a fresh root file system.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends /tmp/greylist_*.deb python3-hiredis \
    python3-prometheus-client
apt-get clean
rm -rf /var/lib/apt/lists/* /tmp/greylist_*.deb
