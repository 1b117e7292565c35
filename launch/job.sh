#!/usr/bin/env bash
# The one entry of jobs, the same on every host of a cluster: launch/job.sh --config=NAME --workdir=DIR [--config.key=value]
#
#   launch/job.sh setup        makes the environment for the accelerator of this host, once
#   launch/job.sh ARGS         makes it if needed, and runs mms_jax.train with ARGS; the same ARGS resume
#
# MMS_JAX_BUCKET, if set, is mounted as ~/bucket by gcsfuse (Google Cloud) before the job starts.
# MMS_JAX_EXTRA names the extra of the accelerator (tpu, cuda, none); by default it is found. MMS_JAX_RETRIES (3) is how
# often a job that crashed, or that its watchdog ended, starts again. An error that the log explains (status 1 or 2) ends it, as
# does SIGTERM, after which the job saves.
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

is_set_up() {
  [ -x .venv/bin/python ] && cmp -s <(echo "$extra"; cat constraints.txt pyproject.toml) .venv/installed-job.txt
}

setup() {
  local extra
  extra=$(accelerator)
  is_set_up && return
  # Tasks that share a disk wait here for the first of them.
  exec 9> .setup.lock
  flock 9
  is_set_up && return
  local python target=.
  if [ "$extra" = tpu ] && ! launch/find_python.sh >/dev/null 2>&1; then
    sudo apt-get update -qq && sudo apt-get install -y -qq python3.11-venv # images of TPU VMs have an older one
  fi
  python=$(launch/find_python.sh) || exit 2
  "$python" -m venv .venv
  [ "$extra" = none ] || target=".[$extra]"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$target"
  { echo "$extra"; cat constraints.txt pyproject.toml; } > .venv/installed-job.txt
  exec 9>&-
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
retries=${MMS_JAX_RETRIES:-3}
[ "$retries" != 0 ] || exec .venv/bin/python -m mms_jax.train "$@"

# A shell that waits hands no signal on: it does so by hand, and waits for the job to save.
child='' asked=''
hand_on() {
  asked=1
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap hand_on TERM INT

attempt=0
while :; do
  begun=$SECONDS status=0
  .venv/bin/python -m mms_jax.train "$@" &
  child=$!
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do # a signal ended the wait, not the job
    status=0
    wait "$child" || status=$?
  done
  [ -z "$asked" ] || exit "$status"
  case $status in 0 | 1 | 2 | 130 | 143) exit "$status" ;; esac # done, an error that the log explains, or asked to stop
  [ $((SECONDS - begun)) -lt 3600 ] || attempt=0 # it had made progress
  [ "$attempt" -lt "$retries" ] || exit "$status"
  attempt=$((attempt + 1))
  echo "status $status: starting again ($attempt of $retries)" >&2
  sleep "${MMS_JAX_PAUSE:-10}"
done
