"""What a run asks of its machine: memory, and time for compiling."""

import functools
import resource
import sys

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's name of the event


@functools.cache
def _compilations() -> list[float]:
    """The seconds of each program that this process compiles from the first call on; JAX cannot forget a listener."""
    seconds: list[float] = []

    def listen(event: str, duration_secs: float, **unused: str | int) -> None:
        if event == _COMPILED:
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seconds


class MachineFigures:
    """Figures since the last line of the log."""

    def __init__(self) -> None:
        """Begins to count."""
        self._seen = len(_compilations())

    def take(self) -> dict[str, float]:
        """The figures of this process; begins anew.

        Returns:
          memory_gb, the most that the program has used so far of its first device (absent where the device does not tell, as
          a CPU); host_memory_gb, of the host; compiled, programs that were compiled or read from the cache, and
          compile_seconds, of those.
        """
        new = _compilations()[self._seen :]
        self._seen += len(new)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
        figures = {"host_memory_gb": kilobytes * 1024 / 1e9, "compiled": len(new), "compile_seconds": sum(new)}
        told = jax.local_devices()[0].memory_stats()
        if told and "peak_bytes_in_use" in told:
            figures["memory_gb"] = told["peak_bytes_in_use"] / 1e9
        return figures
