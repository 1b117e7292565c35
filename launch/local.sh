#!/usr/bin/env bash
# Runs everything on this machine, in its own environment. It needs Python 3.11 or newer and nothing else.
#
#   launch/local.sh setup              virtual environment in .venv, packages at the versions of constraints.txt
#   launch/local.sh test [ARGS]        setup, linters, tests (ARGS go to pytest: launch/local.sh test -m "not slow")
#   launch/local.sh quickstart [DIR]   setup, then corpus, pretraining, fine-tuning, evaluation, use; results in DIR;
#                                      with --tts a small voice too
#
# PYTHON=python3.12 chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

# On CPUs, XLA's YNNPACK fusions cost these models a third of their speed (jaxlib 0.10.2); XLA_FLAGS set outside wins.
export XLA_FLAGS="${XLA_FLAGS---xla_cpu_experimental_ynn_fusion_type=}"

setup() {
  local stamp=.venv/installed-constraints.txt
  if [ -x .venv/bin/python ] && cmp -s <(cat constraints.txt pyproject.toml) "$stamp"; then
    return
  fi
  local python
  python=$(launch/find_python.sh)
  echo "setting up .venv with $("$python" --version) (a few minutes)"
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[paper,docs,dev]'
  cat constraints.txt pyproject.toml > "$stamp"
}

run_tests() {
  .venv/bin/ruff check .
  .venv/bin/ruff format --check .
  .venv/bin/mypy
  .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
}

command=${1:-}
[ $# -gt 0 ] && shift
case "$command" in
  setup) setup ;;
  test) setup && run_tests "$@" ;;
  quickstart) setup && exec .venv/bin/python -m launch.quickstart "$@" ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0"; [ "$command" = help ] || exit 2 ;;
esac
