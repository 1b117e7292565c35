#!/usr/bin/env bash
# Aligns twice: with a first aligner, then with one that is trained on the first's best alignments (MMS, section 3.1.4).
#
#   launch/two_rounds.sh CHAPTERS TEXTS LANG ALIGNER DIR [TRAINING FLAGS]
#
# CHAPTERS, TEXTS, LANG and ALIGNER are those of `mms-jax align`. Alignments go to DIR/round1 and DIR/round2, the second
# aligner to DIR/aligner, corpora to DIR/data: aligned_chapters/round1 and round2. TRAINING FLAGS go to mms_jax.train, as in
#   launch/two_rounds.sh recordings texts swh facebook/mms-1b-all runs/swh --config.total_steps=20000
# The same command resumes. The environment variables MIN_SCORE and SPLITS are passed to the preparation of corpora.
set -euo pipefail
[ $# -ge 5 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
chapters=$1 texts=$2 lang=$3 aligner=$4 dir=$5
shift 5

align_and_prepare() {  # MODEL ROUND SPLITS
  local status=0
  mms-jax align "$chapters" "$texts" --lang "$lang" --model "$1" --output-dir "$dir/$2" || status=$?
  [ "$status" -le 1 ] || exit "$status"  # stopped by a signal
  [ "$status" -eq 0 ] ||
    echo "two_rounds.sh: not every file was aligned and believed (see above); continuing with the others" >&2
  python -m input_pipeline.prepare aligned_chapters --data_dir="$dir/data" --name="$2" --alignments="$dir/$2" \
    --splits="$3" --min_score="${MIN_SCORE:--0.2}" --workers=2
}

align_and_prepare "$aligner" round1 train
python -m mms_jax.train --config=asr_folder --workdir="$dir/aligner" --config.input.data_dir="$dir/data" \
  --config.input.corpora='("aligned_chapters/round1:train",)' "$@"
align_and_prepare "$dir/aligner" round2 "${SPLITS:-chapters}"
