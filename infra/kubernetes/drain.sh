#!/bin/sh
# drain SECONDS: before a pod is ended. The host takes up no more queue messages, and this waits until those that it has
# are finished, for so many seconds at most. HTTP calls are answered meanwhile. It exits with 1 if something is not.
set -u
host=${DRAIN_HOST:-http://127.0.0.1:8080}
keys=${DRAIN_KEYS:-/run/secrets/functions-keys}
left=$1

# The key goes in by standard input: a command line can be read by others.
ask() {
  printf 'x-functions-key: %s' "$(cat "$keys/host.master")" |
    curl --silent --show-error --fail --max-time 5 --header @- "$@"
}

ask --request POST --data '' "$host/admin/host/drain" || exit 1
# Until everybody knows that this pod is no longer asked.
sleep "${DRAIN_PAUSE:-5}"
while [ "$left" -gt 0 ]; do
  if ask "$host/admin/host/drain/status" | grep -Eq '"outstandingInvocations": *0[,}]'; then exit 0; fi
  sleep 1
  left=$((left - 1))
done
echo "drain: something still runs after $1 s" >&2
exit 1
