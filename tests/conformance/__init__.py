"""What PyTorch may do with an activation: every activation of a package by every check, in one table.

    python -m tests.conformance --package generated --device cpu

Needs torch and the package alone. `tests/test_conformance_table.py` runs the same checks under pytest.
"""
