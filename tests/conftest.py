import numpy as np
import pytest
import shim
import torch
from hypothesis import settings

if shim.ACTIVE:  # before any import of softdp
    shim.install()
from helpers import GOLDEN

settings.register_profile("softdp", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("softdp")


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not shim.ACTIVE:
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        if not torch._C._dispatch_has_kernel_for_dispatch_key("softdp::fsd_forward", "CUDA"):
            pytest.skip("softdp was built without CUDA kernels")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def golden():
    """golden(name): the arrays of a file that others' code computed; skips where the folder is absent."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = GOLDEN / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"golden values: {path} is not there (SOFTDP_GOLDEN names their folder)")
        with np.load(path) as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def threads():
    """Sets PyTorch's thread count; the old one comes back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
