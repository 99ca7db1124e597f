#!/bin/bash
# Runs in a container of the half-built node image: takes an archive of images on stdin, has containerd import it, and
# gives back containerd's folder as a tar archive on stdout.
set -euo pipefail

containerd >/tmp/containerd.log 2>&1 &
pid=$!
for _ in {1..300}; do
  if ctr version >/dev/null 2>&1; then
    ready=yes
    break
  fi
  sleep 0.1
done
if [[ -z "${ready:-}" ]]; then
  tail -n 20 /tmp/containerd.log >&2
  exit 1
fi
ctr --namespace k8s.io images import --label io.cri-containerd.pinned=pinned --all-platforms --no-unpack - >&2
kill "$pid"
wait "$pid" || true
rm -rf /var/lib/containerd/tmpmounts/*
tar --create --directory / --sort=name --numeric-owner var/lib/containerd
