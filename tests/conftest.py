import os

import numpy as np
import pytest
import shim
import torch
from hypothesis import settings

if shim.ACTIVE:  # before any import of softdp
    shim.install()
import devices
from helpers import GOLDEN
from skips import pytest_terminal_summary  # noqa: F401  (pytest calls it)

import softdp

pytest.register_assert_rewrite("kernel_checks")
settings.register_profile("softdp", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("softdp")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """`pytest` alone runs all tests in a process for each core, up to 8. What names tests runs in this
    process, where it starts sooner and where -s and a debugger work."""
    whole = config.args_source is config.ArgsSource.TESTPATHS
    return min(_cores(), 8) if whole else 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_configure(config):
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    if workers > 1:  # together they have as many threads as there are cores
        torch.set_num_threads(max(1, _cores() // workers))


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not shim.ACTIVE:
        if not torch.cuda.is_available():
            pytest.skip(
                "needs a CUDA device: there is none; SOFTDP_SHIM=1 pytest runs most of these tests on the CPU"
            )
        if not torch._C._dispatch_has_kernel_for_dispatch_key("softdp::fsd_forward", "CUDA"):
            pytest.skip("needs CUDA kernels: softdp was built without them, and pip install -v says why")


def pytest_collection_modifyitems(config, items):
    """Under the shim the CUDA operators stand in the CPU's place, and only the GPU's tests fit them."""
    if shim.ACTIVE:
        others = [item for item in items if not item.get_closest_marker("cuda")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.get_closest_marker("cuda")]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(params=devices.PARAMETERS)
def device(request) -> torch.device:
    """The CPU; the GPU, where there is one. Under the shim the CPU, in the GPU's place."""
    return devices.GPU if request.param == "cuda" else torch.device("cpu")


@pytest.fixture(params=[*devices.PARAMETERS, "reference"])
def library(request):
    """softdp on each device, and softdp.reference: its functions by their names, of tensors on the CPU."""
    if request.param == "reference":
        return devices.Reference()
    return devices.Library(devices.GPU if request.param == "cuda" else torch.device("cpu"))


@pytest.fixture(params=[*devices.PARAMETERS, "reference"])
def either(request, monkeypatch) -> torch.device:
    """A device with kernels; and the CPU as a device without, where softdp.reference computes the scores."""
    if request.param == "reference":
        monkeypatch.setattr(softdp._devices, "has_kernel", lambda device: False)
    return devices.GPU if request.param == "cuda" else torch.device("cpu")


@pytest.fixture
def golden():
    """golden(name): the arrays of a file that others' code computed (tests/golden/README.md)."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def threads():
    """Sets PyTorch's thread count; the old one comes back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
