"""Certificates: how wrong a function is, measured against the exact reference.

In: a function on numpy arrays, the expression that it claims to compute. Out: a `Measurement`.
"""

from dsl.certify.report import Failure, Measurement
from dsl.certify.sample import kinks, sample
from dsl.certify.scan import Truth, around_worst, certify, measure, truth

__all__ = [
    "Failure",
    "Measurement",
    "Truth",
    "around_worst",
    "certify",
    "kinks",
    "measure",
    "sample",
    "truth",
]
