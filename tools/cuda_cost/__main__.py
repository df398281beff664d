"""Prints predicted times of the CUDA kernels in a built extension, or in object files. It needs no GPU.

    python tools/cuda_cost softdp/_CUDA.abi3.so            the table
    python tools/cuda_cost FILE... --check                 fails if a time is 10% above the kept prediction
    python tools/cuda_cost FILE... --write                 keeps the predictions

It reads the kernels for sm_90 (PyPI: nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm). The numbers are
predictions. Of the kernels of commit 6accf02 the four times of one pair in float32 are within 3% of those
measured on an H100 (fe53f13), the four of 264x512 are 14 to 21% too low, and one pair in bfloat16 is 15% too
high, forward. tiny.py says what the times of tiny pairs rest on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cuda_cost.listing import Function, functions, names
from cuda_cost.predictions import CASES, RESULTS, as_json, predicted, slower, table
from cuda_cost.relay import RELAY_CASES, predicted_relay, relay_as_json, relay_table
from cuda_cost.resources import demangled, kernels, readable, tool
from cuda_cost.tiny import SCALE, TINY_CASES, predicted_tiny, tiny_as_json, tiny_table

KEPT = RESULTS / "cuda-predicted.json"
ARCHITECTURE = "sm_90"
SHARE = 0.1
KERNELS = {SCALE, *(case.kernel for case in (*CASES, *RELAY_CASES, *TINY_CASES))}


def listed(file: str) -> dict[str, Function]:
    """The kernels of a file that are predicted, by their readable names."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        dump = [tool("cuobjdump"), "-arch", ARCHITECTURE, "-xelf", "all", str(Path(file).resolve())]
        subprocess.run(dump, cwd=folder, check=True, capture_output=True)
        for cubin in sorted(Path(folder).iterdir()):
            command = [tool("nvdisasm"), "-hex", "-c", str(cubin)]
            listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            mangled = names(listing)
            readable_names = dict(zip(mangled, map(readable, demangled(mangled)), strict=True))
            wanted = {name for name, text in readable_names.items() if text in KERNELS}
            found |= {readable_names[function.name]: function for function in functions(listing, wanted)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--check", action="store_true", help=f"compare with {KEPT.name}")
    parser.add_argument("--write", action="store_true", help=f"write {KEPT.name}")
    args = parser.parse_args()
    code = {name: function for file in args.files for name, function in listed(file).items()}
    resources = [k for file in args.files for k in kernels(file) if k.architecture == ARCHITECTURE]
    predictions, tiny = predicted(code, resources), predicted_tiny(code, resources)
    relay = predicted_relay(code, resources)
    if not predictions and not tiny and not relay:
        raise SystemExit(f"no kernel that is predicted, for {ARCHITECTURE}, in {' '.join(args.files)}")
    print(
        f"Predicted for an H100 from the code for {ARCHITECTURE}; measured: the last run in {RESULTS.name}.\n"
    )
    if predictions:
        print(table(predictions))
    if relay:
        print(f"\n{relay_table(relay)}")
    if tiny:
        print(f"\nTiny pairs; before: the last run in {RESULTS.name}.\n\n{tiny_table(tiny)}")
    now = as_json(predictions) | relay_as_json(relay) | tiny_as_json(tiny)
    if args.write:
        KEPT.write_text(json.dumps(now, indent=2) + "\n")
    if args.check:
        found = slower(now, json.loads(KEPT.read_text()), SHARE)
        if found:
            raise SystemExit("missing, or predicted to be slower by more than 10%: " + "; ".join(found))


if __name__ == "__main__":
    main()
