# Start-up script of a queued TPU VM, below the variables that launch/tpu_vm.sh writes: runs the job whenever the VM starts.
# MMS_JAX_JOB: arguments of mms_jax.train. MMS_JAX_BUCKET: see launch/job.sh. MMS_JAX_CODE: the code, as `git archive` packs it.
set -euo pipefail
cd /opt
if [ ! -x mms_jax/launch/job.sh ]; then
  rm -rf mms_jax unpacked && mkdir unpacked
  until gcloud storage cp "$MMS_JAX_CODE" code.tar.gz; do sleep 10; done
  tar -xzf code.tar.gz -C unpacked
  mv unpacked mms_jax
fi
# A start-up script that ends ends its children; systemd keeps the job. It asks the script alone to stop (mixed), which lets the
# job save, and starts it again where another process was late or lost (134), or a service refused (75).
systemd-run --unit=mms-jax --collect --property=KillMode=mixed --property=TimeoutStopSec=120 \
  "--property=RestartForceExitStatus=75 134" --property=RestartSec=60 \
  --setenv=HOME=/root --setenv="MMS_JAX_BUCKET=$MMS_JAX_BUCKET" \
  bash -c "exec /opt/mms_jax/launch/job.sh $MMS_JAX_JOB >> /var/log/mms_jax.log 2>&1"
