"""What the benchmarks of both devices use."""
