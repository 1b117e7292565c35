#!/usr/bin/env bash
# The one entry of jobs, the same on every host of a cluster: launch/job.sh --config=NAME --workdir=DIR [--config.key=value]
#
#   launch/job.sh setup        makes the environment for the accelerator of this host, once
#   launch/job.sh ARGS         makes it if needed, and runs mms_jax.train with ARGS; the same ARGS resume
#
# MMS_JAX_BUCKET (Google Cloud) is mounted as ~/bucket, to read corpora, where ARGS name ~/bucket; where gcsfuse is missing,
# its folder corpora is copied there. MMS_JAX_EXTRA names the extra of the accelerator (tpu, cuda, none); by default it is
# found. MMS_JAX_RETRIES (3) is how often a job that crashed, that its watchdog ended, or whose bucket refused, starts again.
# An error that the log explains (status 1 or 2) ends it, as does SIGTERM, after which the job saves. Status 75: try again.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME:-/root} # start-up scripts have none

case "${1:-}" in '' | -h | --help)
  sed -n '2,11s/^# \{0,1\}//p' launch/job.sh >&2
  exit 2
  ;;
esac

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
    # Images of TPU VMs have an older one, and may be updating themselves.
    sudo apt-get -o DPkg::Lock::Timeout=600 update -qq || exit 75
    sudo apt-get -o DPkg::Lock::Timeout=600 install -y -qq python3.11-venv || exit 75
  fi
  python=$(launch/find_python.sh) || exit 2
  "$python" -m venv .venv || exit 75
  [ "$extra" = none ] || target=".[$extra]"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$target" || exit 75
  { echo "$extra"; cat constraints.txt pyproject.toml; } > .venv/installed-job.txt
  exec 9>&-
}

bring_corpora() {
  mountpoint -q "$HOME/bucket" && return
  mkdir -p "$HOME/bucket"
  if command -v gcsfuse >/dev/null; then
    gcsfuse --implicit-dirs -o ro "$MMS_JAX_BUCKET" "$HOME/bucket" || exit 75
  elif command -v gcloud >/dev/null; then
    echo "gcsfuse is missing: copying gs://$MMS_JAX_BUCKET/corpora to $HOME/bucket/corpora" >&2
    gcloud storage rsync --recursive "gs://$MMS_JAX_BUCKET/corpora" "$HOME/bucket/corpora" || exit 75
  else
    echo "error: neither gcsfuse nor gcloud is here to bring the corpora of gs://$MMS_JAX_BUCKET; install one of them" >&2
    exit 2
  fi
}

check_workdir() {
  case " $* " in *" --workdir"[\ =]"~/bucket"* | *" --workdir"[\ =]"$HOME/bucket"*)
    echo "error: ~/bucket is mounted to be read; write to the bucket itself: --workdir=gs://BUCKET/NAME" >&2
    exit 2
    ;;
  esac
}

prepare() {
  setup
  case "${MMS_JAX_BUCKET:+$*}" in *"~/bucket"* | *"$HOME/bucket"*) bring_corpora ;; esac
}

check_workdir "$@"
for attempt in 1 2 3 4 5; do # the network, or a lock, may be busy
  status=0
  (prepare "$@") || status=$?
  [ "$status" = 75 ] || break
  sleep "${MMS_JAX_PAUSE:-10}"
done
[ "$status" = 0 ] || exit "$status"
[ "$1" != setup ] || exit 0

# Programs that were compiled before are found again after a restart.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/mms_jax/compiled}"
retries=${MMS_JAX_RETRIES:-3}
[ "$retries" != 0 ] || exec .venv/bin/python -m mms_jax.train "$@"

# A shell that waits hands no signal on: it does so by hand, and waits for the job to save. The job has a group of its own:
# of two signals, as Ctrl-C and this shell would send, the second ends it at once.
apart=$(command -v setsid || true)
child='' asked='' sent=''
hand_on() {
  asked=1
  [ -z "$child" ] || [ -n "$sent" ] || { sent=1 && kill -TERM "$child" 2>/dev/null; } || true
}
trap hand_on TERM INT

attempt=0
while [ -z "$asked" ]; do
  begun=$SECONDS status=0
  ${apart:+"$apart"} .venv/bin/python -m mms_jax.train "$@" &
  child=$!
  [ -z "$asked" ] || hand_on # a signal came before there was a child
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do # a signal ended the wait, not the job
    status=0
    wait "$child" || status=$?
  done
  [ -z "$asked" ] || exit "$status"
  case $status in 0 | 1 | 2 | 130 | 143) exit "$status" ;; esac # done, an error that the log explains, or asked to stop
  [ $((SECONDS - begun)) -lt 7200 ] || attempt=0 # longer than processes wait for each other: it had made progress
  [ "$attempt" -lt "$retries" ] || exit "$status"
  attempt=$((attempt + 1))
  echo "status $status: starting again ($attempt of $retries)" >&2
  child=''
  sleep "${MMS_JAX_PAUSE:-10}" & # a signal ends the wait, as it would not end a sleep in the foreground
  wait $! || true
done
exit 143
