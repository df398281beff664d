"""Predicts the times of the CUDA kernels from their machine code, without a GPU."""
