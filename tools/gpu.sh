#!/usr/bin/env bash
# Runs everything that needs a GPU, in under ten minutes: builds softdp for this GPU, runs the CUDA tests,
# compute-sanitizer over a short list, and the benchmarks. Downloads nothing.
set -uo pipefail

usage() {
  cat << 'END'
usage: tools/gpu.sh [--dry-run] [--stages LIST] [--wheels DIR] [--out DIR] [--logs DIR] [--seconds N] [--python PYTHON]

  --dry-run   without a GPU: builds, imports, and checks on CPU tensors; measures nothing
  --stages    some of tests,sanitizers,benchmarks (default all three)
  --wheels    wheels to install first, of packages that are missing (default .whl in the repository, if it
              exists). If softdp is among them, it is measured, and the build of two minutes is left out
  --out       for the JSON, Markdown and PNG files (default benchmarks/results)
  --logs      for the logs of build, tests and sanitizers (default: shown where something fails, then removed)
  --seconds   the limit of everything together (default 570)
  --python    a Python with torch, setuptools, ninja, pytest, hypothesis, matplotlib, tqdm (default python3)
END
}
bad() { printf 'gpu.sh: error: %s\n' "$1" >&2; exit 2; }
die() { printf 'gpu.sh: error: %s\n' "$1" >&2; exit 1; }
say() { printf '\n=== %s (%ss)\n' "$*" "$SECONDS"; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
dry='' stages=tests,sanitizers,benchmarks wheels='' out=$root/benchmarks/results logs='' seconds=570 python=python3

while (($#)); do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --dry-run) dry=yes; shift; continue ;;
    --stages | --wheels | --out | --logs | --seconds | --python) (($# > 1)) || bad "argument $1: expected one value" ;;
    *) bad "unrecognized argument: $1" ;;
  esac
  [[ -n $2 ]] || bad "argument $1: must not be empty"
  case $1 in
    --stages) stages=$2 ;;
    --wheels) wheels=$2 ;;
    --out) out=$2 ;;
    --logs) logs=$2 ;;
    --seconds) seconds=$2 ;;
    --python) python=$2 ;;
  esac
  shift 2
done
[[ $stages =~ ^(tests|sanitizers|benchmarks)(,(tests|sanitizers|benchmarks))*$ ]] ||
  bad "argument --stages: must be some of tests,sanitizers,benchmarks, got '$stages'"
[[ $seconds =~ ^[1-9][0-9]{0,4}$ ]] || bad "argument --seconds: must be whole seconds, 1 or more, got '$seconds'"
[[ -z $wheels || -d $wheels ]] || bad "argument --wheels: no folder $wheels"
[[ -z $wheels && -d $root/.whl ]] && wheels=$root/.whl
python=$(command -v "$python") || bad "argument --python: not found"
[[ $python == /* ]] || python=$PWD/$python
for folder in "$out" ${logs:+"$logs"}; do
  mkdir -p "$folder" 2> /dev/null || bad "arguments --out, --logs: cannot make $folder"
done
out=$(cd "$out" && pwd)
[[ -z $logs ]] || logs=$(cd "$logs" && pwd)
[[ -z $wheels ]] || wheels=$(cd "$wheels" && pwd)

# ---- checks of what it needs, before anything that takes long

toolkit() { # the path of a program of the CUDA toolkit
  local home found
  for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}"; do
    [[ -n $home && -x $home/bin/$1 ]] && printf '%s\n' "$home/bin/$1" && return
  done
  found=$(command -v "$1") || { [[ -x /usr/local/cuda/bin/$1 ]] && found=/usr/local/cuda/bin/$1; } || return 1
  printf '%s\n' "$found"
}
ask() { (cd / && "$python" -c "$1" 2> /dev/null); }

torch=$(ask 'import torch; print(torch.__version__, "CUDA", torch.version.cuda)') || die "$python has no torch"
gpu=$(ask 'import torch
if torch.cuda.is_available():
    print("%d.%d" % torch.cuda.get_device_capability(), torch.cuda.get_device_name())') || gpu=
nvcc=$(toolkit nvcc) || nvcc=
sanitizer=$(toolkit compute-sanitizer) || sanitizer=
# PyTorch compiles ddtw with the toolkit around the first nvcc on PATH, which can be a wrapper.
if [[ -n $nvcc && -z ${CUDA_HOME:-} ]]; then
  for home in "$(dirname "$(dirname "$(readlink -f "$nvcc")")")" /usr/local/cuda; do
    [[ -f $home/include/cuda_runtime.h ]] && export CUDA_HOME=$home && break
  done
fi
[[ -n $gpu ]] && arch=${gpu%% *} || arch=

if [[ -z $dry ]]; then
  [[ -n $gpu ]] || die "PyTorch ($torch) sees no GPU (--dry-run does what can be done without)"
  [[ -n $nvcc ]] || die "no nvcc: softdp's CUDA kernels cannot be built"
fi
printf 'python %s, torch %s\nGPU %s\nnvcc %s\ncompute-sanitizer %s\n' \
  "$python" "$torch" "${gpu:-none}" "${nvcc:-none}" "${sanitizer:-none}"

work=$(mktemp -d) || die "no temporary folder"
trap 'rm -rf "$work"' EXIT
site=$work/site
logs=${logs:-$work}
failures=()
left() { echo $((seconds - SECONDS)); }
failed() { # failed NAME LOG [LINES]: notes the failure and prints the end of the log
  failures+=("$1")
  printf -- '--- %s failed; the end of its log:\n' "$1"
  tail -n "${3:-40}" "$2"
}

# ---- build

if [[ -n $wheels ]]; then
  say "wheels of $wheels"
  (cd "$work" && "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$site" \
    "$wheels"/*.whl) > "$logs/wheels.log" 2>&1 || { tail "$logs/wheels.log"; die "the wheels do not install"; }
  for wheel in "$wheels"/*.whl; do basename "$wheel"; done
fi
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
missing=$(ask 'import importlib.util as u
names = "pip", "setuptools", "ninja", "numpy", "pytest", "hypothesis", "matplotlib", "tqdm"
print(*(n for n in names if u.find_spec(n) is None))') || die "$python does not run"
[[ -z $missing ]] || die "$python lacks: $missing (a folder of wheels may bring them: --wheels)"

build() {
  say "build, for ${arch:-${TORCH_CUDA_ARCH_LIST:-9.0}}"
  # For one architecture only, because the default list is that of wheels for many GPUs. With line numbers,
  # which racecheck.py needs.
  export TORCH_CUDA_ARCH_LIST=${arch:-${TORCH_CUDA_ARCH_LIST:-9.0}} NVCC_APPEND_FLAGS=-lineinfo
  mkdir "$work/source" # a copy, so that the build leaves nothing in the checkout
  tar -C "$root" --exclude=./.git --exclude=./.whl --exclude=./build --exclude=./runs --exclude='*.so' \
    --exclude='*.egg-info' --exclude=_build_info.json -cf - . | tar -C "$work/source" -xf - || die "cannot copy $root"
  (cd "$work/source" && "$python" -m pip install -v --no-index --no-build-isolation --no-deps --upgrade \
    --target "$site" .) > "$logs/build.log" 2>&1 || { tail -n 40 "$logs/build.log"; die "the build failed"; }
  grep -o 'softdp [^ ]*: built for .*' "$logs/build.log" | tail -n 1
}
compgen -G "${wheels:-/nowhere}/softdp-*.whl" > /dev/null && echo "softdp as it was built in $wheels" || build
(cd "$work" && "$python" -c 'import softdp; print(softdp.build_info())') || die "softdp does not import"
kernels=$(cd "$work" && "$python" -c 'import softdp; print(*softdp.build_info()["cuda_archs"])')
[[ -n $dry || -n $kernels ]] || die "softdp was built without CUDA kernels"

# ---- the tests

# In another folder, because in the checkout Python would import the source, which is not built.
run_tests() { # seconds
  local plugins # pytest-xdist and pytest-timeout are used where they are installed
  plugins=$(ask 'import importlib.util as u
found = {"xdist": "-n 6", "pytest_timeout": "--timeout 60", "pytest_benchmark": "-p no:benchmark"}
print(*(option for name, option in found.items() if u.find_spec(name)))')
  # shellcheck disable=SC2086
  (cd "$work" && OMP_NUM_THREADS=2 timeout -k 10 "$1" "$python" -m pytest -c "$root/pyproject.toml" \
    --rootdir "$root" -o addopts= -o required_plugins= -p no:cacheprovider -q $plugins -m cuda "$root/tests") 2>&1 | tee "$logs/tests.log"
}

if [[ -n $dry ]]; then
  say "the list of sanitize.py, on CPU tensors"
  (cd "$work" && "$python" "$root/tools/sanitize.py" --check) || die "sanitize.py --check failed"
  say "pytest -m cuda, which skips without a GPU"
  run_tests 300
  code=$?
  case $code in
    0) ;;
    5) echo "no test is marked cuda" ;;
    *) die "pytest -m cuda failed" ;;
  esac
  say "the cases of the benchmarks, on CPU tensors"
  (cd "$work" && "$python" "$root/benchmarks/gpu/run.py" --check) || die "benchmarks/gpu/run.py --check failed"
  cat << 'END'

gpu.sh: the dry run ends here, where a GPU is needed. Built, imported, and checked on CPU tensors;
not run: CUDA tests, compute-sanitizer, benchmarks. Nothing was measured.
END
  exit 0
fi

wanted() { [[ ,$stages, == *,$1,* ]]; }
# The benchmarks come last and take longest. The other stages leave them two minutes.
if wanted benchmarks; then reserve=120; else reserve=0; fi
limit() { # seconds for a stage that may take at most $1
  local most=$(($(left) - reserve))
  echo $((most < $1 ? most : $1))
}

if wanted benchmarks; then # ddtw builds its extension at its first use: in the background, during the tests
  (cd "$work" && timeout -k 5 150 "$python" "$root/benchmarks/gpu/peers.py") > "$logs/peers.log" 2>&1 &
  peers=$!
fi

if wanted tests; then
  say "pytest -m cuda"
  allowed=$(limit 180)
  if ((allowed < 10)); then
    echo "no time left" > "$logs/tests.log"
    failed "pytest -m cuda" "$logs/tests.log"
  else
    run_tests "$allowed"
    code=$?
    if ((code)) || ! grep -qE '(^|[ =])[1-9][0-9]* passed' "$logs/tests.log"; then
      echo "(exit code $code within $allowed s; a run in which no test passed has failed too)" >> "$logs/tests.log"
      failed "pytest -m cuda" "$logs/tests.log" 3
    fi
  fi
fi

# ---- the sanitizers

if wanted sanitizers; then
  for tool in memcheck racecheck initcheck synccheck; do
    say "compute-sanitizer --tool $tool"
    log=$logs/$tool.log
    allowed=$(limit 75)
    if [[ -z $sanitizer ]]; then
      echo "compute-sanitizer is not there" > "$log"
    elif ((allowed < 10)); then
      echo "no time left" > "$log"
    else
      # Without PyTorch's cache each tensor is an allocation of its own, uninitialised at first.
      case $tool in memcheck | initcheck) cache=1 ;; *) cache=0 ;; esac
      command=("$sanitizer" --tool "$tool" --error-exitcode 1 "$python" "$root/tools/sanitize.py")
      ((cache)) && command=(env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "${command[@]}")
      (cd "$work" && OMP_NUM_THREADS=2 timeout -k 5 "$allowed" "${command[@]}") > "$log" 2>&1
      code=$?
      if [[ $tool == racecheck ]] && ((code == 1)) && "$python" "$root/tools/racecheck.py" "$log"; then
        continue
      fi
      if ((code == 0)); then
        grep -E 'sanitize.py:|ERROR SUMMARY|RACECHECK SUMMARY' "$log"
        continue
      fi
      echo "(exit code $code within $allowed s)" >> "$log"
    fi
    failed "$tool" "$log"
  done
fi

# ---- the benchmarks

if wanted benchmarks; then
  say "peers"
  without=()
  if wait "$peers"; then
    cat "$logs/peers.log"
  else
    tail -n 5 "$logs/peers.log"
    echo "a library does not build in time, or hangs: continuing without ddtw"
    without=(--without ddtw)
  fi
  say "benchmarks"
  budget=$(($(left) - 45)) # for its start, its last problem and its figure
  ((budget > 280)) && budget=280
  if ((budget < 10)); then
    echo "no time left" > "$logs/benchmarks.log"
    failed benchmarks "$logs/benchmarks.log"
  else
    (cd "$work" && timeout -k 10 $((budget + 40)) "$python" "$root/benchmarks/gpu/run.py" \
      --budget "$budget" --out "$out" ${without[@]+"${without[@]}"}) || failures+=(benchmarks)
  fi
fi

say "done"
if ((${#failures[@]})); then
  printf 'gpu.sh: failed: %s\n' "$(IFS=,; echo "${failures[*]}")" >&2
  exit 1
fi
echo "gpu.sh: passed: $stages on ${gpu#* }"
