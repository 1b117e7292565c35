"""Scripts that submit jobs: the commands that they print, the entry of jobs, and the files for clusters."""

import math
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time

import kubernetes_validate
import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted(path.name for path in LAUNCH.glob("*.sh"))


def _has_docker():
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=60).returncode == 0


def tpu_vm(*arguments, **environment):
    return subprocess.run(
        [LAUNCH / "tpu_vm.sh", *arguments], capture_output=True, text=True, env=os.environ | environment, timeout=60
    )


def printed(*arguments):
    """The commands of a dry run, as words."""
    done = tpu_vm(*arguments, "--dry-run") if "--" not in arguments else tpu_vm(*_with_dry_run(arguments))
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def _with_dry_run(arguments):
    place = arguments.index("--")
    return (*arguments[:place], "--dry-run", *arguments[place:])


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_valid_bash_and_executable(script):
    subprocess.run(["bash", "-n", LAUNCH / script], check=True)
    if script not in ("startup.sh", "slurm.sh"):  # start-up scripts and batch scripts are read, not run
        assert os.access(LAUNCH / script, os.X_OK)


def test_a_pod_is_made_for_its_chip():
    (command,) = printed("create", "pod", "--type=v5litepod-256", "--zone=us-west4-a", "--project=mine", "--spot")
    assert command == [
        *(["gcloud", "compute", "tpus", "tpu-vm", "create", "pod", "--accelerator-type=v5litepod-256"]),
        *(["--version=v2-alpha-tpuv5-lite", "--spot", "--zone=us-west4-a", "--project=mine"]),
    ]
    (command,) = printed("create", "pod", "--type=v6e-64", "--version=other")
    assert "--version=other" in command


def test_code_reaches_all_workers():
    archive, copy, unpack = printed("push", "pod", "--zone=z")
    assert archive[:2] == ["git", "archive"] and archive[-1] == "HEAD"
    assert copy[:5] == ["gcloud", "compute", "tpus", "tpu-vm", "scp"] and {"--worker=all", "--zone=z"} <= set(copy)
    assert "pod:" in copy and any(word.startswith("--command=") and "job.sh setup" in word for word in unpack)


def test_arguments_of_a_job_arrive_as_they_were_given():
    job = ["--config=pretrain_1b", "--config.input.corpora=('a b:train', \"c$d\")", "--workdir=gs://b/run"]
    (command,) = printed("run", "pod", "--bucket=gs://corpora", "--", *job)
    remote = next(word for word in command if word.startswith("--command=")).removeprefix("--command=")
    assert "--worker=all" in command and remote.startswith("MMS_JAX_BUCKET=corpora nohup ") and remote.endswith("&")
    words = shlex.split(remote)
    start = words.index("mms_jax/launch/job.sh") + 1
    assert words[start : start + len(job)] == job


def test_a_queued_pod_starts_its_job_by_itself():
    job = "--config=pretrain_1b --workdir=gs://b/run"
    commands = printed("create", "pod", "--type=v5p-128", "--queued", "--bucket=b", f"--job={job}")
    assert [command[0] for command in commands] == ["git", "gcloud", "gcloud"]
    upload, create = commands[1:]
    assert upload[-1] == "gs://b/code-pod.tar.gz" and "queued-resources" in create and "--node-id=pod" in create
    script = next(word.partition("startup-script=")[2] for word in create if "startup-script=" in word)
    text = (ROOT / script).read_text()
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    variables = (
        text.partition("# Start-up script")[0] + 'printf "%s\\n" "$MMS_JAX_JOB" "$MMS_JAX_BUCKET" "$MMS_JAX_CODE"'
    )
    found = subprocess.run(["bash", "-c", variables], capture_output=True, text=True, check=True).stdout.splitlines()
    assert found == [job, "b", "gs://b/code-pod.tar.gz"]


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("logs", "--command=tail -n 50 -F job.log"),
        ("stop", "--worker=all"),
        ("status", "describe"),
        ("delete", "--quiet"),
    ],
)
def test_other_commands(command, part):
    assert part in printed(command, "pod")[0]


def test_dry_runs_may_be_asked_for_anywhere_before_the_arguments():
    wanted = printed("create", "pod", "--type=v5litepod-256")
    for arguments in (["--dry-run", "create", "pod"], ["create", "--dry-run", "pod"]):
        done = tpu_vm(*arguments, "--type=v5litepod-256")
        assert [shlex.split(line) for line in done.stdout.splitlines()] == wanted, done.stderr


def test_one_worker_is_watched_and_so_is_a_request_that_waits():
    assert "--worker=3" in printed("logs", "pod", "--worker=3")[0]
    assert printed("status", "pod", "--queued")[0][3:6] == ["queued-resources", "describe", "pod"]


def test_queued_pods_keep_their_log_elsewhere_and_go_with_their_request():
    assert "--command=tail -n 50 -F /var/log/mms_jax.log" in printed("logs", "pod", "--queued")[0]
    assert any("sudo pkill" in word for word in printed("stop", "pod", "--queued")[0])
    (delete,) = printed("delete", "pod", "--queued", "--zone=z")
    assert delete == [
        "gcloud",
        "compute",
        "tpus",
        "queued-resources",
        "delete",
        "pod",
        "--quiet",
        "--force",
        "--zone=z",
    ]


def test_stopping_does_not_stop_the_shell_that_stops():
    command = next(word for word in printed("stop", "pod")[0] if word.startswith("--command=")).partition("=")[2]
    assert "[l]aunch/job.sh" in command
    elsewhere = command.replace("[l]aunch/job.sh", "[n]o_such_job.sh")  # other tests run jobs
    assert subprocess.run(["bash", "-c", elsewhere], timeout=30).returncode == 0


QUEUED = ["create", "pod", "--type=v6e-4", "--queued", "--bucket=b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "pod"], "name a slice, as in v5litepod-256"),
        (["create", "Pod", "--type=v6e-4"], "not of small letters"),
        (["create"], "NAME is missing"),
        (["create", "pod", "--typ=v6e-4"], "unknown option --typ=v6e-4"),
        ([*QUEUED, "--job=--config=x --workdir=runs/x"], "--workdir=gs://b/..."),
        ([*QUEUED, "--job=--workdir=gs://b/x"], "--config=..."),
        ([*QUEUED, "--job=--config=x --workdir=gs://b/x --config.input.corpora=('a',)"], "quote parentheses inside"),
        (["create", "pod", "--type=v6e-4", "--job=--config=x"], "need --queued"),
        (["create", "pod", "--type=v6e-4", "--zone="], "--zone is empty"),
        (["run", "pod", "--type=v6e-4", "--", "--config=x"], "run takes no --type; it takes --bucket"),
        (["run", "pod", "--bucket=my bucket", "--", "--config=x"], "name a bucket, without folders"),
        (["run", "pod", "--", "--config=x", "--workdir=runs/x"], "needs --workdir=gs://B/"),
        (["run", "pod", "--", "--config=x", "--dry-run"], "give it before --"),
        (["status", "pod", "other"], "unexpected other"),
        (["run", "pod", "--", "--workdir=gs://b/r", "--config.input.data_dir=~/bucket/c"], "give --bucket=B before --"),
        (["create", "pod", "--type=v6e-4", "--queued"], "needs --bucket=B"),
        (["run", "pod"], "needs the arguments of the job"),
        (["stop", "pod", "--", "now"], "takes no arguments"),
    ],
)
def test_mistakes_are_named(arguments, message):
    done = tpu_vm(*(_with_dry_run(arguments) if "--" in arguments else (*arguments, "--dry-run")))
    assert done.returncode == 2 and message in done.stderr and not done.stdout.strip()


def test_gcloud_is_named_where_it_is_missing(tmp_path):
    for name in ("bash", "dirname", "sed", "mkdir"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = tpu_vm("status", "pod", PATH=str(tmp_path))
    assert done.returncode == 2 and "gcloud is missing" in done.stderr


@pytest.fixture
def host(tmp_path):
    """A host with a clone whose environment is made: its python notes its arguments, and ends as `statuses` says."""
    for name in ("launch/job.sh", "launch/find_python.sh", "constraints.txt", "pyproject.toml"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, target)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/usr/bin/env bash\nprintf "%s\\n" "$*" >> calls\n'
        'status=$(head -n 1 statuses); sed -i 1d statuses; exit "${status:-0}"\n'
    )
    python.chmod(0o755)
    stamp = "none\n" + (ROOT / "constraints.txt").read_text() + (ROOT / "pyproject.toml").read_text()
    (tmp_path / ".venv/installed-job.txt").write_text(stamp)

    def run(*arguments, statuses=(), **environment):
        (tmp_path / "statuses").write_text("".join(f"{status}\n" for status in statuses))
        (tmp_path / "calls").write_text("")
        done = subprocess.run(
            [tmp_path / "launch/job.sh", *arguments],
            env=os.environ | {"MMS_JAX_EXTRA": "none", "MMS_JAX_PAUSE": "0"} | environment,
            capture_output=True,
            timeout=60,
        )
        return done.returncode, (tmp_path / "calls").read_text().splitlines()

    return run


def test_a_job_passes_its_arguments_and_its_status(host):
    status, calls = host("--config=x", "--workdir=a b")
    assert status == 0 and calls == ["-m mms_jax.train --config=x --workdir=a b"]
    assert host("setup") == (0, [])


@pytest.mark.parametrize(
    ("statuses", "status", "runs"),
    [((134, 0), 0, 2), ((75, 75, 0), 0, 3), ((143,), 143, 1), ((1,), 1, 1), ((2,), 2, 1), ((134,) * 5, 134, 4)],
)
def test_a_job_that_fails_starts_again_and_one_that_is_stopped_does_not(host, statuses, status, runs):
    found, calls = host("--config=x", statuses=statuses)
    assert found == status and len(calls) == runs


def test_corpora_of_a_bucket_are_mounted_or_copied_where_a_job_names_them(host, tmp_path):
    """With tools that note their arguments."""
    tools = tmp_path / "tools"
    tools.mkdir()
    noted = tmp_path / "noted"

    def install(tool):
        (tools / tool).write_text(f'#!/usr/bin/env bash\necho {tool} "$*" >> {noted}\n')
        (tools / tool).chmod(0o755)

    def run(*arguments):
        noted.write_text("")
        path = f"{tools}:{os.environ['PATH']}"
        status, _ = host(*arguments, PATH=path, HOME=str(tmp_path), MMS_JAX_BUCKET="b")
        return status, noted.read_text()

    job = ["--config=x", "--workdir=gs://b/run"]
    install("gcloud")
    assert run(*job) == (0, "")
    if not shutil.which("gcsfuse"):
        copied = f"gcloud storage rsync --recursive gs://b/corpora {tmp_path}/bucket/corpora\n"
        assert run(*job, "--config.input.data_dir=~/bucket/corpora") == (0, copied)
    install("gcsfuse")
    mounted = f"gcsfuse --implicit-dirs -o ro b {tmp_path}/bucket\n"
    assert run(*job, "--config.input.data_dir=~/bucket/corpora") == (0, mounted)
    assert run("--config=x", "--workdir=~/bucket/run") == (2, "")


def test_without_arguments_a_job_explains_itself(host):
    assert host() == (2, [])


def begun_job(folder, **environment):
    """A job in a group of its own, whose python has noted that it started."""
    (folder / "calls").write_text("")
    environment = os.environ | {"MMS_JAX_EXTRA": "none", "MMS_JAX_PAUSE": "0"} | environment
    job = subprocess.Popen([folder / "launch/job.sh", "--config=x"], env=environment, start_new_session=True)
    deadline = time.monotonic() + 30
    while "started" not in (folder / "calls").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    return job


def test_a_job_that_is_stopped_while_it_waits_does_not_start_again(host, tmp_path):
    python = tmp_path / ".venv/bin/python"
    python.write_text("#!/usr/bin/env bash\necho started >> calls\nexit 134\n")
    job = begun_job(tmp_path, MMS_JAX_PAUSE="60")
    time.sleep(0.3)  # it waits now
    job.terminate()
    assert job.wait(timeout=30) == 143 and (tmp_path / "calls").read_text().split() == ["started"]


def test_a_host_whose_network_fails_at_first_is_prepared_again(host, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "gcsfuse").write_text(
        f"#!/usr/bin/env bash\necho tried >> {tmp_path}/tries\n[ $(wc -l < {tmp_path}/tries) = 3 ]\n"
    )
    (tools / "gcsfuse").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    status, calls = host("--config=~/bucket/x", PATH=path, HOME=str(tmp_path), MMS_JAX_BUCKET="b")
    assert (status, len(calls)) == (0, 1) and len((tmp_path / "tries").read_text().split()) == 3


def test_a_signal_to_the_whole_group_reaches_the_job_once(host, tmp_path):
    """A second one would end it before it has saved."""
    python = tmp_path / ".venv/bin/python"
    python.write_text(
        "#!/usr/bin/env bash\necho started >> calls\n"
        "trap 'echo saving >> calls; trap \"exit 1\" TERM; sleep 1; echo saved >> calls; exit 143' TERM\n"
        "for _ in $(seq 600); do sleep 0.1; done\n"
    )
    job = begun_job(tmp_path)
    os.killpg(job.pid, signal.SIGTERM)
    assert job.wait(timeout=30) == 143 and (tmp_path / "calls").read_text().split() == ["started", "saving", "saved"]


def test_a_signal_reaches_the_job_which_saves_and_is_not_started_again(host, tmp_path):
    python = tmp_path / ".venv/bin/python"
    python.write_text(
        '#!/usr/bin/env bash\necho started >> calls\ntrap "echo saved >> calls; exit 143" TERM\n'
        "for _ in $(seq 600); do sleep 0.1; done\n"
    )
    for retries in ("3", "0"):
        job = begun_job(tmp_path, MMS_JAX_RETRIES=retries)
        job.terminate()
        assert job.wait(timeout=30) == 143 and (tmp_path / "calls").read_text().split() == ["started", "saved"]


def test_a_host_without_python_says_what_is_missing(host, tmp_path):
    shutil.rmtree(tmp_path / ".venv")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "cat", "cmp", "flock", "env"):
        (tools / name).symlink_to(shutil.which(name))
    job = [tmp_path / "launch/job.sh", "setup"]
    done = subprocess.run(
        job, env={"PATH": str(tools), "MMS_JAX_EXTRA": "none"}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "no Python 3.11 or newer" in done.stderr


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="needs the Google Cloud CLI")
@pytest.mark.parametrize(
    "command",
    [
        "create",
        "delete",
        "push",
        "run",
        "logs",
        "status",
        *(f"{one} --queued" for one in ("create", "delete", "status")),
    ],
)
def test_the_flags_are_those_of_gcloud(command):
    """Its own help names every flag that is passed."""
    name, *queued = command.split()
    job = ["--bucket=b", "--job=--config=x --workdir=gs://b/r"] if queued else []
    options = [*queued, "--zone=z", *(["--type=v5p-8", "--spot", *job] if name == "create" else [])]
    last = printed(name, "pod", *options, *(["--", "--config=x", "--workdir=gs://b/r"] if name == "run" else []))[-1]
    verbs = ("create", "delete", "ssh", "scp", "describe")
    words = last[: next(place for place, word in enumerate(last) if word in verbs) + 1]
    shown = subprocess.run([*words, "--help"], capture_output=True, text=True, timeout=120)
    if shown.returncode:
        pytest.skip("gcloud has no help here")
    for flag in {word.partition("=")[0] for word in last if word.startswith("--")}:
        assert flag in shown.stdout, f"{flag} is no flag of {' '.join(words)}"


def test_the_job_set_has_a_pod_for_each_host():
    """The fields of JobSet's API (v1alpha2), Kubernetes' own schema of the jobs in it, and sizes that belong together."""
    job = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet") and job["metadata"]["name"]
    assert set(job["spec"]["failurePolicy"]) <= {"maxRestarts", "rules"}
    assert all(set(rule) == {"name", "action", "onJobFailureReasons"} for rule in job["spec"]["failurePolicy"]["rules"])
    assert set(job["spec"]) <= {
        "replicatedJobs", "network", "successPolicy", "failurePolicy", "startupPolicy", "suspend", "coordinator",
        "managedBy", "ttlSecondsAfterFinished", "volumeClaimPolicies",
    }  # fmt: skip
    for replicated in job["spec"]["replicatedJobs"]:
        assert {"name", "template"} <= set(replicated) <= {"name", "template", "groupName", "replicas", "dependsOn"}
        inner = replicated["template"]["spec"]
        batch = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "one"}, "spec": inner}
        kubernetes_validate.validate(batch, kubernetes_validate.latest_version(), strict=True)
        pod = inner["template"]["spec"]
        (container,) = pod["containers"]
        chips = math.prod(map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")))
        assert (
            inner["parallelism"] == inner["completions"] == chips // container["resources"]["limits"]["google.com/tpu"]
        )
        assert pod["restartPolicy"] == "Never" and inner["backoffLimit"] == 0
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert container["command"][:3] == ["python", "-m", "mms_jax.train"]


def test_the_sky_task_names_what_it_runs():
    task = yaml.safe_load((LAUNCH / "sky.yaml").read_text())
    assert set(task) <= {"name", "resources", "num_nodes", "workdir", "envs", "file_mounts", "setup", "run"}
    assert task["setup"] == "launch/job.sh setup" and "launch/job.sh $ARGS" in task["run"]
    assert task["file_mounts"]["/shared"] == {"name": "${BUCKET}", "mode": "MOUNT_CACHED"} and "BUCKET" in task["envs"]
    assert {"JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"} <= set(
        re.findall(r"JAX_\w+", task["run"])
    )


def test_sky_reads_its_task():
    sky = pytest.importorskip("sky", reason="needs pip install skypilot")
    task = sky.Task.from_yaml_config(yaml.safe_load((LAUNCH / "sky.yaml").read_text()), env_overrides=[("BUCKET", "b")])
    assert task.envs["BUCKET"] == "b" and "/shared" in task.storage_mounts


@pytest.mark.slow
@pytest.mark.skipif(not _has_docker(), reason="needs a Docker daemon")
def test_the_image_is_built():
    build = [
        "docker",
        "build",
        "-f",
        LAUNCH / "Dockerfile",
        "--build-arg",
        "ACCELERATOR=tpu",
        "-t",
        "mms_jax_test",
        ROOT,
    ]
    subprocess.run(build, check=True, timeout=1800)
    subprocess.run(["docker", "run", "--rm", "mms_jax_test"], check=True, timeout=300)


def test_the_batch_script_puts_a_lost_job_back(tmp_path):
    """With a `srun` that ends as told, and a `scontrol` that notes its arguments."""
    (tmp_path / "launch").mkdir()
    shutil.copy(LAUNCH / "job.sh", tmp_path / "launch/job.sh")
    for name, text in {
        "srun": 'echo "$*" > srun_called; [ -z "$NOTED" ] || echo $NOTED > "$MMS_JAX_STATUS"; exit $END',
        "scontrol": 'echo "$*" > requeued',
    }.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    # srun tells the status of the tasks that it kills, 143, after one has ended with 1.
    ends = (("0", "", False), ("1", "", False), ("143", "", True), ("134", "", True), ("143", "1", False))
    for end, noted, requeued in ends:
        (tmp_path / "requeued").unlink(missing_ok=True)
        job = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_ID": "7",
            "END": end,
            "NOTED": noted,
        }
        subprocess.run(
            ["bash", LAUNCH / "slurm.sh", "--config=x"], env=os.environ | job, timeout=60, capture_output=True
        )
        assert (tmp_path / "requeued").exists() == requeued
        assert (tmp_path / "srun_called").read_text().endswith("launch/job.sh --config=x\n")
    text = (LAUNCH / "slurm.sh").read_text()
    assert re.search(r"^#SBATCH --requeue$", text, re.MULTILINE) and re.search(
        r"^#SBATCH --signal=", text, re.MULTILINE
    )
