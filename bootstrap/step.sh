#!/bin/bash
# The step that runs the job: fetches the executable, proves that it is the one that was shipped, and runs it for as
# long as it may.
# usage: step.sh REGION EXECUTABLE_URI SHA256 SECONDS ARGUMENT...
set -euo pipefail

region=$1 uri=$2 sha256=$3 seconds=$4
shift 4
export AWS_REGION=$region AWS_DEFAULT_REGION=$region

# EMR does not know of a step any more whose parent is gone: it ends then, as if it were told to.
parent() { cut -d ' ' -f 4 /proc/$$/stat 2>/dev/null; }

# EMR does not count a program that is not YARN's as activity, and would end the cluster under it. It asks for this.
# https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-auto-termination-policy.html
busy=/emr/metricscollector/isbusy
(
  born=$(parent)
  while kill -0 $$ 2>/dev/null; do
    now=$(parent) || break
    # Told once: another signal would cut off what the job still writes.
    [ "$now" = "$born" ] || { born=$now; kill -TERM $$; }
    touch "$busy" 2>/dev/null || sudo touch "$busy" 2>/dev/null || true
    sleep "${FRUITCTL_BUSY_SECONDS:-30}"
  done
) </dev/null >/dev/null 2>&1 &
touching=$! work=
# A signal to all of the step has ended it already.
trap 'kill "$touching" 2>/dev/null || true; rm -rf "$work"' EXIT

work=$(mktemp -d "${FRUITCTL_WORK:-/mnt}/fruitjob-XXXXXXXX")
aws s3 cp --only-show-errors --region "$region" "$uri" "$work/fruitjob"
echo "$sha256  $work/fruitjob" | sha256sum --check --quiet || {
  echo "error: $uri is not what was shipped: its SHA-256 is not $sha256" >&2
  exit 1
}
chmod +x "$work/fruitjob"

timeout --signal=TERM --kill-after=60 "$seconds" "$work/fruitjob" "$@" &
job=$!
trap 'kill -TERM "$job" 2>/dev/null' TERM INT
code=0
wait "$job" || code=$?
# Told to stop: wait for what it still writes.
if kill -0 "$job" 2>/dev/null; then code=0; wait "$job" || code=$?; fi
if [ "$code" = 124 ]; then
  echo "error: stopped after $seconds seconds, as --max-duration allows" >&2
elif [ "$code" -gt 128 ]; then
  echo "error: fruitjob was ended by signal $((code - 128))" >&2
fi
exit "$code"
