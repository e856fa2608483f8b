"""What NVML says about this machine's GPUs, in a sentence that fits into a heartbeat.

The driver may hang, and an error while asking is no broken GPU: a beat waits a moment at most, and what NVML cannot
explain is reported only when it says so twice in a row.
"""

from __future__ import annotations

import importlib
import threading
from asyncio import wrap_future
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from machines.ports import Clock

GpuProbe = Callable[[], Awaitable[str | None]]
"""Never raises and returns soon: None where nothing can be said, "ok", or what is broken."""

OK = "ok"
HUNG = "nvml does not answer"


async def no_gpu() -> str | None:
    """The probe of a machine without NVML."""
    return None


class NvmlProbe:
    """Asks NVML in a thread of its own; one question at a time, however long the driver takes.

    A beat waits `wait_s` real seconds for the answer and goes out with the last one after that. Past `hung_after_s`
    the driver counts as hung: with many GPUs and no persistence daemon the first answer alone takes some seconds.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        gpus: int | None = None,
        nvml: Any = None,
        wait_s: float = 1.0,
        hung_after_s: float = 15.0,
    ) -> None:
        self._clock = clock
        self._gpus = NvmlGpus(gpus, nvml)
        self._wait_s = wait_s
        self._hung_after_s = hung_after_s
        self._asked: Future[str | None] | None = None
        self._asked_at = 0.0
        self._last: str | None = None

    async def __call__(self) -> str | None:
        if self._asked is None:
            self._asked, self._asked_at = _in_thread(self._gpus.look), self._clock.monotonic()
            try:
                await self._clock.wait_for(wrap_future(self._asked), self._clock.real(self._wait_s))
            except TimeoutError:
                pass  # the thread goes on, and a later beat finds its answer
        if self._asked.done():
            self._last, self._asked = self._asked.result(), None
        elif self._clock.monotonic() - self._asked_at >= self._clock.real(self._hung_after_s):
            self._last = HUNG
        return self._last


def _in_thread(look: Callable[[], str | None]) -> Future[str | None]:
    """A daemon thread: the executors of asyncio would hold up the end of the process until a hung driver answers."""
    answer: Future[str | None] = Future()
    answer.set_running_or_notify_cancel()  # from here a time-out cancels the waiting, not the answer

    def run() -> None:
        try:
            answer.set_result(look())
        except Exception as error:  # a bug in a binding must not silence the machine
            answer.set_result(f"nvml: {error!r}")

    threading.Thread(target=run, name="nvml", daemon=True).start()
    return answer


class _Unclear(Exception):
    """NVML failed in a way that says nothing certain about a GPU."""


class NvmlGpus:
    """One NVML session and what it said at the start. Blocks; not for two threads at once.

    The session stays open, because opening one wakes the GPUs. ECC errors count from the start of the agent: NVML's
    counter is as old as the driver, and on a rented host that was somebody else's time.
    """

    def __init__(self, gpus: int | None = None, nvml: Any = None) -> None:
        self._expected = gpus or 0
        self._nvml = nvml
        self._is_open = False
        self._ecc_before: dict[int, int] = {}
        self._unclear_before = False
        self._last: str | None = None

    def look(self) -> str | None:
        """None, "ok", or what is broken."""
        try:
            self._last = self._verdict()
            self._unclear_before = False
        except _Unclear as error:
            self._close()
            if self._unclear_before:
                self._last = str(error)
            self._unclear_before = True
        return self._last

    def _verdict(self) -> str | None:
        absent = self._open()
        if absent is not None:
            return f"0 of {self._expected} gpus: {absent}" if self._expected else None
        count = self._count()
        self._expected = max(self._expected, count)
        found = [problem for index in range(count) if (problem := self._problem(index))]
        if count < self._expected:
            found.insert(0, f"{count} of {self._expected} gpus")
        if found:
            return "; ".join(found)
        return OK if count else None

    def _open(self) -> str | None:
        """Why NVML is not there; None where the session is open."""
        if self._is_open:
            return None
        if self._nvml is None:
            try:
                self._nvml = importlib.import_module("pynvml")
            except ImportError:
                return "nvidia-ml-py is not installed"
        nvml = self._nvml
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            if error.value in (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED):
                return str(error)
            raise _Unclear(f"nvml: {error}") from error
        self._is_open = True
        return None

    def _close(self) -> None:
        """The next look begins with a new session: an old one can outlive the driver that it was opened on."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            pass  # it was broken anyway

    def _count(self) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            raise _Unclear(f"nvml: {error}") from error

    def _problem(self, index: int) -> str | None:
        nvml = self._nvml
        try:
            gpu = nvml.nvmlDeviceGetHandleByIndex(index)
            self._said(nvml.nvmlDeviceGetMemoryInfo, gpu)  # a handle alone may come from a cache; this asks the GPU
            ecc = self._said(
                nvml.nvmlDeviceGetTotalEccErrors, gpu, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            )
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_GPU_IS_LOST:
                return f"gpu {index}: fallen off the bus"
            if error.value == nvml.NVML_ERROR_RESET_REQUIRED:
                return f"gpu {index}: needs a reset"
            raise _Unclear(f"gpu {index}: {error}") from error
        return self._ecc_problem(index, ecc)

    def _said(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """None where this GPU, driver or container does not answer that question."""
        nvml = self._nvml
        try:
            return question(*arguments)
        except nvml.NVMLError as error:
            if error.value in (
                nvml.NVML_ERROR_NOT_SUPPORTED,
                nvml.NVML_ERROR_NO_PERMISSION,
                nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            ):
                return None
            raise

    def _ecc_problem(self, index: int, ecc: int | None) -> str | None:
        if ecc is None:
            return None
        # A counter below its start was reset with the driver: what it shows is new again from zero.
        before = self._ecc_before.setdefault(index, ecc)
        if ecc < before:
            before = self._ecc_before[index] = 0
        return f"gpu {index}: {ecc - before} uncorrectable ECC errors since the agent's start" if ecc > before else None
