"""The benchmarks on a CPU."""
