"""The benchmarks on a GPU."""
