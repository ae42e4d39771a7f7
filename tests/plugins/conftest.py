"""What the libraries need to be imported at all."""

import pytest
import torch
from torch.library import Library

# PyPI's torchvision holds operators for CUDA, which a CPU build of torch cannot load; then its import fails
# for want of two of them. None of them is an activation's business.
if torch.version.cuda is None:
    _library = Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may be fetched."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
