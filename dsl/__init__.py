"""A compiler from activation functions, written as formulas, to Triton kernels and torch modules."""

__version__ = "0.1.0"
