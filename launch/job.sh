#!/usr/bin/env bash
# The one entry of jobs, the same on every host of a cluster: launch/job.sh --config=NAME --workdir=DIR [--config.key=value]
#
#   launch/job.sh setup        makes the environment for the accelerator of this host, once
#   launch/job.sh ARGS         makes it if needed, and runs mms_jax.train with ARGS; the same ARGS resume
#
# MMS_JAX_BUCKET, if set, is mounted as ~/bucket by gcsfuse (Google Cloud) before the job starts.
# MMS_JAX_EXTRA names the extra of the accelerator (tpu, cuda, none); by default it is found. MMS_JAX_RETRIES (3) is how
# often a job that failed starts again. A job that was asked to stop (status 130 or 143) does not.
set -euo pipefail
cd "$(dirname "$0")/.."

accelerator() {
  if [ -n "${MMS_JAX_EXTRA:-}" ]; then
    echo "$MMS_JAX_EXTRA"
  elif compgen -G '/dev/accel*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' >/dev/null; then
    echo tpu
  elif command -v nvidia-smi >/dev/null; then
    echo cuda
  else
    echo none
  fi
}

setup() {
  local extra stamp=.venv/installed-job.txt
  extra=$(accelerator)
  if [ -x .venv/bin/python ] && cmp -s <(echo "$extra"; cat constraints.txt pyproject.toml) "$stamp"; then
    return
  fi
  local python
  python=$(command -v python3.12 || command -v python3.11 || command -v python3)
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  local target=.
  [ "$extra" = none ] || target=".[$extra]"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$target"
  { echo "$extra"; cat constraints.txt pyproject.toml; } > "$stamp"
}

mount_bucket() {
  mountpoint -q "$HOME/bucket" && return
  command -v gcsfuse >/dev/null || {
    echo "error: gcsfuse is missing; install Google's Cloud Storage FUSE on this host, or unset MMS_JAX_BUCKET" >&2
    exit 2
  }
  mkdir -p "$HOME/bucket"
  gcsfuse --implicit-dirs "$MMS_JAX_BUCKET" "$HOME/bucket"
}

setup
[ "${1:-}" != setup ] || exit 0
[ -z "${MMS_JAX_BUCKET:-}" ] || mount_bucket

# Programs that were compiled before are found again after a restart.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/mms_jax/compiled}"
for attempt in $(seq 0 "${MMS_JAX_RETRIES:-3}"); do
  status=0
  .venv/bin/python -m mms_jax.train "$@" || status=$?
  case $status in 0 | 2 | 130 | 143) exit $status ;; esac # done, wrong arguments, or asked to stop
  echo "attempt $attempt ended with status $status" >&2
  sleep "${MMS_JAX_PAUSE:-10}"
done
exit "$status"
