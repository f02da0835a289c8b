#!/bin/sh
# The load scenario: many clients at once, each with its account, order after order, in trust mode. Its figures and what
# they mean are in docs/performance.md.
#   load.sh DIRECTORY_URL ROOT.pem [CLIENTS [CERTIFICATES]]
set -eu

if [ $# -lt 2 ]; then
    sed -n '2,4p' "$0" >&2
    exit 2
fi
cd "$(dirname "$0")/../../.."
exec "${PYTHON:-python3}" -m benchmarks.load --directory "$1" --ca "$2" --clients "${3:-20}" --certificates "${4:-1000}"
