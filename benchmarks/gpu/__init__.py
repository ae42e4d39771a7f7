"""The parts of `gpu_check`: exact values, checks."""
