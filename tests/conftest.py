import numpy as np
import pytest
import shim
import torch
from hypothesis import settings

if shim.ACTIVE:  # before any import of softdp
    shim.install()
from helpers import GOLDEN
from skips import pytest_terminal_summary  # noqa: F401  (pytest calls it)

settings.register_profile("softdp", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("softdp")


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not shim.ACTIVE:
        if not torch.cuda.is_available():
            pytest.skip(
                "needs a CUDA device: there is none; SOFTDP_SHIM=1 pytest tests/test_cuda.py runs most of "
                "these tests on the CPU"
            )
        if not torch._C._dispatch_has_kernel_for_dispatch_key("softdp::fsd_forward", "CUDA"):
            pytest.skip("needs CUDA kernels: softdp was built without them, and pip install -v says why")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


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
