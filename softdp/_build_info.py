"""What this installation of softdp was built for, and what it runs on."""

from __future__ import annotations

from typing import Any

import torch

from . import _library
from ._version import __version__


def build_info() -> dict[str, Any]:
    """What this installation of softdp was built for, and what it runs on.

    Returns:
        A dict with these keys.

        - version: softdp's.
        - torch_built: the oldest PyTorch that this build runs with; torch_running: this process's.
        - platform: the operating system and processor of the build.
        - cpu: the instruction sets of the CPU kernels.
        - cpu_selected: the one in use; the environment variable SOFTDP_CPU, set before the import, names
          another.
        - cpu_running: what PyTorch says of this processor.
        - cuda: the CUDA toolkit that built the CUDA kernels, None if they are not loaded.
        - cuda_archs: the GPU architectures that they were built for, empty if there are none.
        - why_no_cuda: why CUDA tensors run the reference implementation instead of the CUDA kernels; None
          if they run the kernels. A GPU for which the kernels were not built is found at its first call,
          which warns.
        - extension, extension_cuda: the paths of the two loaded files; the second can be None.

    Example:
        >>> import softdp
        >>> softdp.build_info()["cpu_selected"] in ("baseline", "avx2", "avx512")
        True
    """
    built = _library._built()
    return {
        "version": __version__,
        "torch_built": built.get("torch"),
        "torch_running": torch.__version__,
        "platform": built.get("platform"),
        "cpu": built.get("cpu", []),
        "cpu_selected": _library.CPU,
        "cpu_running": torch.backends.cpu.get_cpu_capability(),
        "cuda": built.get("cuda") if _library.CUDA_EXTENSION else None,
        "cuda_archs": built.get("cuda_archs", []),
        "why_no_cuda": _library.why_no_cuda(),
        "extension": str(_library.EXTENSION),
        "extension_cuda": str(_library.CUDA_EXTENSION) if _library.CUDA_EXTENSION else None,
    }
