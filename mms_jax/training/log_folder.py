"""The folder that a run's logs are written to."""

import pathlib
import shutil
import tempfile
from typing import Any, Self

import jax

from mms_jax.files import in_bucket, open_path


class LogFolder:
    """The run's own folder; or for one in a bucket, where nothing can be appended, a folder of this host.

    The latter is copied to the bucket with every checkpoint, and at the end.

    Attributes:
      local: the folder to write to.
    """

    def __init__(self, folder: Any):
        """Args: folder, of the run, from `open_path`."""
        self._bucket = folder if in_bucket(folder) else None
        self.local = pathlib.Path(tempfile.mkdtemp(prefix="mms_jax_logs_")) if self._bucket else folder
        self._sizes: dict[pathlib.Path, int] = {}  # of the files that the bucket has
        if self._bucket and jax.process_index() == 0 and (before := self._bucket / "metrics.jsonl").exists():
            (self.local / before.name).write_text(before.read_text())

    def publish(self) -> None:
        """Copies what is new to the bucket, if there is one."""
        if self._bucket is None or jax.process_index() > 0:
            return
        for path in sorted(self.local.rglob("*")):
            size = path.stat().st_size
            if path.is_file() and self._sizes.get(path) != size:
                target = open_path(self._bucket / path.relative_to(self.local))
                target.write_bytes(path.read_bytes())
                self._sizes[path] = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bucket is not None:
            self.publish()
            shutil.rmtree(self.local)
