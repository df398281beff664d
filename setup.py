"""Builds softdp's two compiled files. buildtools/ has the code, pyproject.toml all other settings.

    softdp/_C.abi3.so      the operators' schemas and the CPU kernels
    softdp/_CUDA.abi3.so   the CUDA operators and kernels, if a CUDA toolkit is found

Both files use PyTorch's stable ABI and nothing of Python's. So one build runs under every Python, and under
every PyTorch from 2.10 on. The build needs no PyTorch: third_party/torch has the headers of that ABI, and the
loader finds what they declare. Only a PyTorch with CUDA loads the second file. It holds a CUDA runtime of its
own, so that PyTorch's CUDA version does not matter.
"""

import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

sys.path.insert(0, str(Path(__file__).parent.absolute()))  # pip does not put this folder there
from buildtools.extension import BuildExtension  # noqa: E402  # after the line above

if sys.platform == "win32":
    sys.exit("softdp builds on Linux; on Windows, install it inside WSL2")

no_limited_api = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))  # wheels of these Pythons have none
setup(
    ext_modules=[Extension(name, []) for name in ("softdp._C", "softdp._CUDA")],
    cmdclass={"build_ext": BuildExtension},
    options={} if no_limited_api else {"bdist_wheel": {"py_limited_api": "cp310"}},
)
