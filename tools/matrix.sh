#!/usr/bin/env bash
# Runs the tests of one wheel under other Pythons and PyTorches: nothing is compiled.
#
#     tools/matrix.sh WHEEL TESTS PYTHON=TORCH...
#     tools/matrix.sh dist/softdp-*.whl tests/test_values.py python3.10=2.10.0 python3.13=2.15.0
#
# PYTHON is an interpreter, or the Python of an environment that has that PyTorch, which is then used as it is.
# TESTS are pytest's arguments, in one word. Each environment takes up to 5 GB.
set -euo pipefail
(($# >= 3)) || { sed -n '2,8s/^# \?//p' "$0" >&2; exit 2; }
wheel=$(realpath "$1") tests=$2
cd "$(dirname "$0")/.."
shift 2
[[ -f $wheel ]] || { echo "matrix.sh: no wheel $wheel" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=()
for pair; do
  python=$(command -v "${pair%%=*}") torch=${pair#*=}
  echo "torch==$torch" > "$work/constraint" # later steps must keep this version
  export PIP_CONSTRAINT=$work/constraint
  if ! "$python" -c "import sys, torch; sys.exit(torch.__version__.split('+')[0] != '$torch')" 2> /dev/null; then
    rm -rf "$work/venv"
    "$python" -m venv "$work/venv"
    python=$work/venv/bin/python
    "$python" -m pip install -q "torch==$torch"
  fi
  "$python" -m pip install -q --force-reinstall --no-deps "$wheel"
  "$python" -m pip install -q "softdp[test] @ file://$wheel"
  printf '\n--- '
  (cd "$work" && "$python" -c 'import platform, softdp, torch; print("Python", platform.python_version(), "torch",
    torch.__version__, "| CUDA kernels:", softdp.build_info()["why_no_cuda"] or "loaded")')
  # This calls pytest: `python -m pytest` would import the source folder, which is not built.
  # shellcheck disable=SC2086
  "${python%/*}/pytest" -q $tests || failed+=("$pair")
done
((${#failed[@]} == 0)) || { echo "failed: ${failed[*]}"; exit 1; }
