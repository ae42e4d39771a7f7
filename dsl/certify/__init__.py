"""Certificates: how wrong a function is, measured against the exact reference.

In: a function on numpy arrays, the expression that it claims to compute. Out: a `Measurement`.
"""

from dsl.certify.report import Failure, Measurement
from dsl.certify.sample import kinks, sample
from dsl.certify.scan import Truth, certify, measure, truth

__all__ = ["Failure", "Measurement", "Truth", "certify", "kinks", "measure", "sample", "truth"]
