"""Compilation, CUDA graphs and sharding, around models and steps."""
