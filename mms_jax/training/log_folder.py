"""The folder that a run's logs are written to."""

import pathlib
import shutil
import tempfile
from typing import Any, Self

import jax
from absl import logging

from mms_jax.files import in_bucket


class LogFolder:
    """The run's own folder; or for one in a bucket, where nothing can be appended, a folder of this host.

    The latter is copied to the bucket with every checkpoint, and at the end. Logs that cannot be copied do not end a run:
    they are copied with the next checkpoint.

    Attributes:
      local: the folder to write to; known inside the context.
    """

    local: pathlib.Path

    def __init__(self, folder: Any):
        """Args: folder, of the run, from `open_path`."""
        self._folder = folder
        self._copied: dict[pathlib.Path, int] = {}  # sizes of the files that the bucket has

    def __enter__(self) -> Self:
        """Makes the folder of this host, with the log so far."""
        if not in_bucket(self._folder):
            self.local = self._folder
            return self
        before = self._folder / "metrics.jsonl"
        log = before.read_text() if jax.process_index() == 0 and before.exists() else ""
        self.local = pathlib.Path(tempfile.mkdtemp(prefix="mms_jax_logs_"))
        if log:
            (self.local / before.name).write_text(log)
        return self

    def publish(self) -> None:
        """Copies what is new to the bucket, if there is one: profiles of all processes, the rest of the first."""
        if not in_bucket(self._folder):
            return
        place = self.local if jax.process_index() == 0 else self.local / "profile"
        for path in sorted(place.rglob("*")):
            size = path.stat().st_size
            if not path.is_file() or self._copied.get(path) == size:
                continue
            target = self._folder / path.relative_to(self.local)
            try:
                target.write_bytes(path.read_bytes())
            except Exception as error:  # gcsfs raises many kinds
                logging.warning("%s cannot be written now (%s)", target, error)
                return
            self._copied[path] = size

    def __exit__(self, *_: object) -> None:
        if in_bucket(self._folder):
            self.publish()
            shutil.rmtree(self.local, ignore_errors=True)
