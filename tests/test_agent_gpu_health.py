"""GPU health from a pynvml that is a plain object: no driver is needed."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import pynvml
import pytest

from adapters.system_clock import SystemClock
from daemon.gpu_health import HUNG, NvmlGpus, NvmlProbe


@dataclass
class Nvml:
    """The part of pynvml that is used: its real error codes, and a host whose parts can break."""

    count: int = 2
    broken: dict[int, int] = field(default_factory=dict)
    ecc: dict[int, int] = field(default_factory=dict)
    init_error: int | None = None
    sessions: int = 0
    hangs: threading.Event | None = None

    NVMLError = pynvml.NVMLError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("NVML_"):
            return getattr(pynvml, name)
        raise AttributeError(name)

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        if self.hangs is not None:
            self.hangs.wait(10)
        if self.init_error is not None:
            raise pynvml.NVMLError(self.init_error)
        self.sessions += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.sessions -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> str:  # noqa: N802
        if handle in self.broken:
            raise pynvml.NVMLError(self.broken[handle])
        return "memory"

    def nvmlDeviceGetTotalEccErrors(self, handle: int, kind: int, counter: int) -> int:  # noqa: N802
        assert (kind, counter) == (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        if handle not in self.ecc:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self.ecc[handle]


def test_whole_gpus_are_ok_and_one_session_serves_every_look() -> None:
    nvml = Nvml()
    gpus = NvmlGpus(nvml=nvml)
    assert [gpus.look() for _ in range(3)] == ["ok"] * 3
    assert nvml.sessions == 1


@pytest.mark.parametrize("absent", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_without_nvml_nothing_is_said_unless_gpus_were_expected(absent: int) -> None:
    assert NvmlGpus(nvml=Nvml(init_error=absent)).look() is None
    said = NvmlGpus(8, Nvml(init_error=absent)).look()
    assert said is not None
    assert said.startswith("0 of 8 gpus: ")


def test_a_host_without_gpus_says_nothing() -> None:
    assert NvmlGpus(nvml=Nvml(count=0)).look() is None


def test_a_gpu_that_fell_off_the_bus_is_named() -> None:
    nvml = Nvml()
    gpus = NvmlGpus(nvml=nvml)
    assert gpus.look() == "ok"
    nvml.broken = {1: pynvml.NVML_ERROR_GPU_IS_LOST}
    assert gpus.look() == "gpu 1: fallen off the bus"
    nvml.broken = {0: pynvml.NVML_ERROR_RESET_REQUIRED, 1: pynvml.NVML_ERROR_GPU_IS_LOST}
    assert gpus.look() == "gpu 0: needs a reset; gpu 1: fallen off the bus"


def test_fewer_gpus_than_at_the_start_or_than_wanted_is_broken() -> None:
    nvml = Nvml(count=8)
    gpus = NvmlGpus(nvml=nvml)
    assert gpus.look() == "ok"
    nvml.count = 7
    assert gpus.look() == "7 of 8 gpus"
    assert NvmlGpus(8, nvml).look() == "7 of 8 gpus"


def test_ecc_errors_count_from_the_agents_start_and_from_a_driver_reset() -> None:
    nvml = Nvml(ecc={0: 3})
    gpus = NvmlGpus(nvml=nvml)
    assert gpus.look() == "ok"
    nvml.ecc = {0: 5}
    assert gpus.look() == "gpu 0: 2 uncorrectable ECC errors since the agent's start"
    nvml.ecc = {0: 0}
    assert gpus.look() == "ok"
    nvml.ecc = {0: 1}
    assert gpus.look() == "gpu 0: 1 uncorrectable ECC errors since the agent's start"


def test_an_error_that_says_nothing_certain_is_reported_only_the_second_time() -> None:
    nvml = Nvml()
    gpus = NvmlGpus(nvml=nvml)
    assert gpus.look() == "ok"
    nvml.broken = {0: pynvml.NVML_ERROR_UNKNOWN}
    assert gpus.look() == "ok"
    assert gpus.look() == "gpu 0: Unknown Error"
    nvml.broken = {}
    assert gpus.look() == "ok"
    assert nvml.sessions == 1


def test_a_gpu_that_may_not_be_asked_counts_as_whole() -> None:
    assert NvmlGpus(nvml=Nvml(broken={0: pynvml.NVML_ERROR_NO_PERMISSION})).look() == "ok"


def test_a_hung_driver_holds_up_no_beat_and_is_reported() -> None:
    async def story() -> None:
        hangs = threading.Event()
        clock = SystemClock()
        probe = NvmlProbe(clock, nvml=Nvml(hangs=hangs), wait_s=0.05, hung_after_s=0.2)
        began = clock.monotonic()
        assert await probe() is None
        assert await probe() is None
        await clock.sleep(0.25)
        assert await probe() == HUNG
        assert clock.monotonic() - began < 2
        hangs.set()
        answers = []
        while "ok" not in answers:
            await clock.sleep(0.01)
            answers.append(await probe())
        assert set(answers) <= {HUNG, "ok"}

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_bug_in_the_binding_is_an_answer_and_no_crash() -> None:
    async def story() -> None:
        assert "nvml: " in str(await NvmlProbe(SystemClock(), nvml=object())())

    asyncio.run(story())


def test_the_real_binding_on_a_host_without_a_driver_says_nothing() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert asyncio.run(NvmlProbe(SystemClock(), wait_s=10)()) is None
    else:
        pynvml.nvmlShutdown()
        assert asyncio.run(NvmlProbe(SystemClock(), wait_s=10)()) == "ok"
