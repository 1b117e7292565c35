#!/usr/bin/env bash
# Runs jobs on TPU VMs of Google Cloud, on all workers of a slice, through gcloud.
#
#   launch/tpu_vm.sh create NAME           makes the TPU VM (with --queued: as soon as there is one, and it starts by itself)
#   launch/tpu_vm.sh push NAME             copies the committed code to all workers, and sets up its environment
#   launch/tpu_vm.sh run NAME -- ARGS      starts mms_jax.train with ARGS on all workers; it goes on when you log out
#   launch/tpu_vm.sh logs NAME             follows the log of the first worker, or of --worker=N
#   launch/tpu_vm.sh stop NAME             asks the job to save and stop
#   launch/tpu_vm.sh status NAME           says what Google Cloud says
#   launch/tpu_vm.sh delete NAME           deletes the TPU VM; logs, stop, status and delete of a queued one need --queued
#
# Options, before --:
#   --type=v5litepod-256 --zone=us-west4-a --project=P     of create; zone and project default to gcloud's
#   --version=v2-alpha-tpuv5-lite                          software of the TPU VM
#   --bucket=B                                             of run and --queued: gs://B/corpora appears as ~/bucket/corpora on
#                                                          all workers; workdirs are gs://B/NAME
#   --spot                                                 cheaper, and taken away at any moment
#   --queued --job='--config=... --workdir=gs://B/...'     with create: queues for a TPU VM that runs this job, and runs it
#                                                          again whenever it starts, from the last checkpoint; a shell
#                                                          reads ARGS: quote parentheses inside of them
#   --dry-run                                              prints the commands instead
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '2,23s/^# \{0,1\}//p' launch/tpu_vm.sh >&2
  exit 2
}

fail() {
  echo "error: $*" >&2
  exit 2
}

# Prints a command, as it can be pasted into a shell; runs it unless --dry-run.
call() {
  printf '%q ' "$@"
  echo
  [ -n "$dry_run" ] || "$@"
}

tpu() {
  call gcloud compute tpus tpu-vm "$@" "${place[@]+"${place[@]}"}"
}

on_workers() {
  tpu ssh "$name" "--worker=$1" "--command=$2"
}

type='' version='' spot='' queued='' job='' bucket='' worker=0 dry_run='' place=() given=() words=()
while [ $# -gt 0 ]; do
  case "$1" in --[a-z]*=) fail "${1%=} is empty" ;; esac
  case "$1" in
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --zone=* | --project=*) place+=("$1") ;;
    --spot) spot=1 ;;
    --queued) queued=1 ;;
    --job=*) job=${1#*=} ;;
    --bucket=*) bucket=${1#*=} && bucket=${bucket#gs://} ;;
    --worker=*) worker=${1#*=} ;;
    --dry-run) dry_run=1 ;;
    --) shift && break ;;
    --*) fail "unknown option $1; arguments of the job follow --" ;;
    *) words+=("$1") ;;
  esac
  case "$1" in --zone=* | --project=* | --dry-run) ;; --*) given+=("${1%%=*}") ;; esac
  shift
done
command=${words[0]:-} name=${words[1]:-}

case "$command" in
  create) known='--type --version --spot --queued --job --bucket' ;;
  run) known='--bucket' ;;
  logs) known='--queued --worker' ;;
  stop | status | delete) known='--queued' ;;
  push) known='' ;;
  *) usage ;;
esac
[[ "$name" =~ ^[a-z][a-z0-9-]*$ ]] || fail "NAME is missing, or not of small letters, digits and -: '$name'"
[ ${#words[@]} -le 2 ] || fail "unexpected ${words[2]}; arguments of the job follow --"
for option in "${given[@]+"${given[@]}"}"; do
  [[ " $known " == *" $option "* ]] || fail "$command takes no $option${known:+; it takes $known}"
done
[ $# -eq 0 ] || [ "$command" = run ] || fail "$command takes no arguments behind --"
for argument in "$@"; do
  [[ "$argument" != --dry-run ]] || fail "--dry-run is no argument of the job; give it before --"
done
[[ "$bucket" =~ ^([a-z0-9][a-z0-9._-]*)?$ ]] || fail "--bucket=$bucket: name a bucket, without folders, as in --bucket=mine"
[[ "$worker" =~ ^[0-9]+$ ]] || fail "--worker=$worker is no number"
[ -n "$queued" ] || [ "$command" != create ] || [ -z "$job$bucket" ] || fail "--job and --bucket of create need --queued"
[ -n "$dry_run" ] || command -v gcloud >/dev/null || fail "gcloud is missing; install the Google Cloud CLI, or try --dry-run"

# The software that Google names for each kind of chip.
default_version() {
  case "$type" in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    v4-*) echo tpu-ubuntu2204-base ;;
    *) fail "--type=$type: name a slice, as in v5litepod-256, v5p-128, v6e-64 or v4-32" ;;
  esac
}

create() {
  local known
  known=$(default_version)
  version=${version:-$known}
  if [ -z "$queued" ]; then
    tpu create "$name" "--accelerator-type=$type" "--version=$version" ${spot:+--spot}
    return
  fi
  [ -n "$bucket" ] || fail "--queued needs --bucket=B: workers share no other disk"
  [[ "$job" == *--config=* && "$job" == *--workdir=gs://* ]] ||
    fail "--queued needs --job='--config=... --workdir=gs://$bucket/...'"
  bash -n -c "train $job" 2>/dev/null || fail "--job: a shell cannot read it; quote parentheses inside: $job"
  local script=launch/build/startup-$name.sh
  archive
  call gcloud storage cp launch/build/code.tar.gz "gs://$bucket/code-$name.tar.gz"
  {
    echo '#!/usr/bin/env bash'
    printf 'export MMS_JAX_JOB=%q MMS_JAX_BUCKET=%q MMS_JAX_CODE=%q\n' "$job" "$bucket" "gs://$bucket/code-$name.tar.gz"
    cat launch/startup.sh
  } > "$script"
  call gcloud compute tpus queued-resources create "$name" "--node-id=$name" "--accelerator-type=$type" \
    "--runtime-version=$version" "--metadata-from-file=startup-script=$script" ${spot:+--spot} "${place[@]+"${place[@]}"}"
}

archive() {
  mkdir -p launch/build
  [ -z "$(git status --porcelain 2>/dev/null)" ] || echo "warning: only what is committed is copied (see git status)" >&2
  call git archive --format=tar.gz --output=launch/build/code.tar.gz HEAD
}

push() {
  archive
  tpu scp launch/build/code.tar.gz "$name:" --worker=all
  on_workers all "mkdir -p mms_jax && tar -xzf code.tar.gz -C mms_jax && mms_jax/launch/job.sh setup"
}

run() {
  [ $# -gt 0 ] || fail "run needs the arguments of the job: run $name --bucket=B -- --config=... --workdir=gs://B/..."
  [[ " $*" == *" --workdir=gs://"* ]] || fail "run needs --workdir=gs://B/...: workers share no other disk"
  [[ " $*" != *"~/bucket"* || -n "$bucket" ]] || fail "the arguments name ~/bucket: give --bucket=B before --"
  local arguments
  arguments=$(printf '%q ' "$@")
  on_workers all "MMS_JAX_BUCKET=$bucket nohup mms_jax/launch/job.sh $arguments >> job.log 2>&1 < /dev/null &"
}

log=job.log
[ -z "$queued" ] || log=/var/log/mms_jax.log
case "$command" in
  create) create ;;
  push) push ;;
  run) run "$@" ;;
  logs) on_workers "$worker" "tail -n 50 -F $log" ;;
  # The brackets keep the pattern from matching the shell that looks for it.
  stop) on_workers all "${queued:+sudo }pkill -TERM -f '[l]aunch/job.sh' || true" ;;
  status)
    if [ -n "$queued" ]; then # a request has a state before there is a TPU VM
      call gcloud compute tpus queued-resources describe "$name" "--format=value(state.state)" \
        "${place[@]+"${place[@]}"}"
    else
      tpu describe "$name" "--format=value(state,health)"
    fi
    ;;
  delete)
    if [ -n "$queued" ]; then # with --force, it deletes the TPU VM too
      call gcloud compute tpus queued-resources delete "$name" --quiet --force "${place[@]+"${place[@]}"}"
    else
      tpu delete "$name" --quiet
    fi
    ;;
esac
