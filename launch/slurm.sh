#!/usr/bin/env bash
# Submits a job to a SLURM cluster with GPUs: sbatch [OPTIONS] launch/slurm.sh --config=NAME --workdir=DIR [--config.key=value]
#
#   sbatch --nodes=8 --gpus-per-node=8 --ntasks-per-node=8 --cpus-per-task=8 launch/slurm.sh --config=pretrain_1b \
#     --workdir=/shared/runs/first --config.input.workers=8 --config.input.data_dir=/shared/data \
#     --config.input.corpora='("audio_folder/one:train",)'
#
# One task for each GPU. The workdir and this clone are on a disk that all nodes see; before the first job, run there once:
# MMS_JAX_EXTRA=cuda launch/job.sh setup. A node that fails, or a preemption, puts the job back into the queue, and it continues
# from the last checkpoint; so does a job at its time limit (--time), a minute before which it saves. To stop one for good:
# scancel --signal=TERM ID, and scancel ID once it is pending again. Submit from the clone, or with --chdir. All tasks write to
# mms_jax-ID.log there; each line begins with its task.
#SBATCH --job-name=mms_jax
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=mms_jax-%j.log
#SBATCH --signal=TERM@60
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
[ -x launch/job.sh ] || { echo "error: submit from the clone of mms_jax, or with --chdir=CLONE" >&2 && exit 2; }

# Restarting is the queue's affair here. JAX finds its peers by SLURM's variables.
export MMS_JAX_RETRIES=0 MMS_JAX_EXTRA="${MMS_JAX_EXTRA:-cuda}"
# A step does not take these from its job.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
# The first task that ends in an error notes its status: srun tells that of the tasks which it then kills.
export MMS_JAX_STATUS=$PWD/mms_jax-$SLURM_JOB_ID.status
rm -f "$MMS_JAX_STATUS"
status=0
srun --label --kill-on-bad-exit=1 launch/job.sh "$@" || status=$?
[ "$status" = 0 ] || [ ! -s "$MMS_JAX_STATUS" ] || status=$(head -n 1 "$MMS_JAX_STATUS")
rm -f "$MMS_JAX_STATUS"
case $status in 0 | 1 | 2) exit $status ;; esac # done, or an error that the log explains
[ "${SLURM_RESTART_COUNT:-0}" -lt 100 ] || exit $status
echo "status $status: the job goes back into the queue" >&2
scontrol requeue "$SLURM_JOB_ID"
