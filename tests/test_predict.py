"""GPUs in figures, and predictions against what was measured."""

import pytest

from benchmarks.predict import rows
from dsl import inspect
from dsl.gpu import FOLDER, find, gpus


def test_every_file_is_a_gpu_that_triton_compiles_for() -> None:
    assert set(gpus()) == {"a100", "b200", "h100", "h200", "mi300x", "rtx-4090"}
    for name, gpu in gpus().items():
        assert inspect.parse_target(name) == inspect.parse_target(gpu.target)
        assert 0.5 < gpu.copied < 1
        assert gpu.shared_per_block <= gpu.shared
        assert f'name = "{gpu.name}"' in (FOLDER / f"{name}.toml").read_text()


def test_the_figures_of_the_first_target() -> None:
    gpu = find("NVIDIA GeForce RTX 4090")
    assert gpu is not None
    assert (gpu.target, gpu.processors, gpu.bandwidth, gpu.warps) == ("sm_89", 128, 1008, 48)
    assert (gpu.registers_per_thread, gpu.shared, gpu.shared_per_block, gpu.cache) == (255, 100, 99, 72)


def test_predictions_are_what_was_measured() -> None:
    found = rows()
    errors = {name: predicted / measured - 1 for name, _, predicted, measured, _ in found}
    assert len(errors) > 80
    assert sum(map(abs, errors.values())) / len(errors) < 0.05
    assert max(map(abs, errors.values())) < 0.25
    slow = [name for name, prediction, *_ in found if prediction.limit == "issue"]
    assert "float32/tanhexp/gradient" in slow
    assert "float32/relu/value" not in slow


def test_a_table_for_known_gpus_alone() -> None:
    row = inspect.Counts(8, 40.0, 2.0, 64, 0, 0, (128, 128), (128, 128))
    text = inspect.predictions({"h200/float32/f/value": row}, "h200")
    assert "| h200/float32/f/value |" in text
    assert "32 of 64" in text
    assert inspect.predictions({"sm_90/float32/f/value": row}, "sm_90") == ""
    with pytest.raises(inspect.UnknownTarget, match="rtx-4090"):
        inspect.parse_target("gtx")
