#!/usr/bin/env bash
# Prints the interpreter for the environments of local.sh and job.sh: PYTHON, or the first that is new enough and has venv.
set -euo pipefail

candidates=${PYTHON:-python3.12 python3.11 python3.13 python3}
for candidate in $candidates; do
  if command -v "$candidate" >/dev/null &&
     "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "$candidate"
    exit
  fi
done
echo "error: no Python 3.11 or newer with venv (tried: $candidates);" \
  "install one, or name it with PYTHON=/path/to/python" >&2
exit 1
