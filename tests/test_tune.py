"""Profiles read and judged; launches tuned by a fake clock, stored, and found by the launch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from inspect import getclosurevars
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dsl import profiler, tuned
from dsl.cli import run as _run
from dsl.profiler import DRAM, GRID, HITS, PROCESSOR, STALLED, SUCCESSORS, WARPS, NoProfiler, Profile, parse
from dsl.tune import Choice, Result, Trial, store, tune
from dsl.tuned import Session
from tests import handmade

HEAD = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size",'
    '"Device","CC"'
)
ROW = '"{id}","77","python3.11","127.0.0.1","{kernel}","1","7","(128, 1, 1)","(1572864, 1, 1)","0","8.9"'
FOUND = {
    DRAM: ("%", "93.31"),
    PROCESSOR: ("%", "3.61"),
    GRID: ("", "1,572,864"),
    HITS: ("%", "50.01"),
    WARPS: ("%", "80.71"),
    STALLED: ("", "n/a"),
    SUCCESSORS[STALLED]: ("%", "87.50"),
}
"""The user's second case on an RTX 4090."""


def details(kernels: tuple[str, ...] = ("_softsign_kernel",)) -> str:
    """What `ncu --csv` prints: a line for each metric."""
    lines = ["==PROF== Connected to process 77 (/usr/bin/python3.11)"]
    lines += ['==PROF== Profiling "_softsign_kernel" - 0: 0%....50%....100% - 1 pass']
    lines += [f'{HEAD},"Section Name","Metric Name","Metric Unit","Metric Value"']
    for place, kernel in enumerate(kernels):
        row = ROW.format(id=place, kernel=kernel)
        lines += [f'{row},"Command line profiler metrics","{n}","{u}","{v}"' for n, (u, v) in FOUND.items()]
    return "\n".join(lines)


def raw() -> str:
    """What `ncu --csv --page raw` prints: a column for each metric, and a line of units."""
    names, units, values = (
        '","'.join(each) for each in zip(*((n, *v) for n, v in FOUND.items()), strict=True)
    )
    blank = ",".join(['""'] * 11)
    row = ROW.format(id=0, kernel="_softsign_kernel")
    return f'==PROF== Disconnected\n{HEAD},"{names}"\n{blank},"{units}"\n{row},"{values}"\n'


@pytest.mark.parametrize("text", [details(), raw()])
def test_both_kinds_of_csv(text: str) -> None:
    (profile,) = parse(text)
    assert profile.kernel == "_softsign_kernel"
    expected = {DRAM: 93.31, PROCESSOR: 3.61, GRID: 1572864, HITS: 50.01, WARPS: 80.71, STALLED: 87.5}
    assert dict(profile.metrics) == expected
    assert profiler.verdict(profile).limit == "memory-bound, at the roof"


@pytest.mark.parametrize(
    ("metrics", "limit"),
    [
        ({DRAM: 60.0, PROCESSOR: 90.0, STALLED: 50.0, WARPS: 90.0}, "issue-bound"),
        ({DRAM: 60.0, PROCESSOR: 30.0, STALLED: 50.0, WARPS: 90.0}, "latency-bound: warps wait for memory"),
        ({DRAM: 60.0, PROCESSOR: 30.0, STALLED: 5.0, WARPS: 30.0}, "latency-bound: few warps"),
        ({DRAM: 60.0, PROCESSOR: 30.0, STALLED: None, WARPS: None}, "between the limits"),
    ],
)
def test_verdicts(metrics: dict[str, float | None], limit: str) -> None:
    assert profiler.verdict(Profile("k", metrics)).limit == limit


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = tmp_path / "ncu.csv"
    recorded.write_text(details(("a", "b")))
    assert _run(["profile", "--csv", str(recorded)]) == 0
    said = capsys.readouterr().out
    assert said.count("memory-bound, at the roof") == 2
    assert f"1,572,864  programs ({GRID})" in said
    assert _run(["profile", "--csv", str(recorded), "--json"]) == 0
    assert [row["kernel"] for row in json.loads(capsys.readouterr().out)] == ["a", "b"]
    recorded.write_text("==WARNING== No kernels were profiled.\n")
    assert _run(["profile", "--csv", str(recorded)]) == 2
    assert "profiled no kernel" in capsys.readouterr().err


def test_without_a_profiler(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert _run(["profile", "mish"]) == 2
    assert "dslgen inspect NAME --target" in capsys.readouterr().err
    assert _run(["profile", "mish", "--shape", "4x4"]) == 2
    assert "numbers with commas" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        ("==ERROR== ERR_NVGPUCTRPERM", 1, "may not read"),
        ("==ERROR== no device", 9, "ended with 9: ==ERROR=="),
    ],
)
def test_a_profiler_that_fails(said: str, code: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(stdout=said, stderr="", returncode=code)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/ncu")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)
    with pytest.raises(NoProfiler, match=message):
        profiler.run(["python"], "k")


def test_how_it_asks() -> None:
    asked = profiler.command(profiler.program("generated", "mish", "8,8", "float32", True, ""), "^_mish")
    assert asked[: asked.index("--metrics")] == [
        "ncu",
        "--csv",
        "--clock-control",
        "none",
        "--profile-from-start",
        "off",
    ]
    assert set(profiler.METRICS) <= set(asked[asked.index("--metrics") + 1].split(","))
    assert asked[-3:] == ["8,8", "float32", "--gradient"]


START = Choice(1024, 4, 3)
QUIET: dict[str, float | None] = {DRAM: 60.0, PROCESSOR: 60.0, STALLED: 5.0, WARPS: 90.0}


def clocked(best: Callable[[Choice], float]) -> tuple[Callable[[Choice], float], list[Choice]]:
    asked: list[Choice] = []

    def measure(choice: Choice) -> float:
        asked.append(choice)
        return best(choice)

    return measure, asked


def test_at_the_roof_nothing_is_tried() -> None:
    measure, asked = clocked(lambda choice: 1.0)
    result = tune(START, measure, Profile("k", {**QUIET, DRAM: 93.0}))
    assert set(asked) == {START}
    assert result.best.choice == START
    assert result.gap == 0


@pytest.mark.parametrize(
    ("metrics", "stages", "tiles"),
    [
        (QUIET, {3}, {1024}),
        ({**QUIET, STALLED: 40.0}, {1, 2, 3}, {1024, 2048}),
        ({**QUIET, WARPS: 30.0}, {3}, {1024, 512}),
    ],
)
def test_only_what_the_metrics_ask_for(
    metrics: dict[str, float | None], stages: set[int], tiles: set[int]
) -> None:
    measure, asked = clocked(lambda choice: 1.0)
    tune(START, measure, Profile("k", metrics))
    assert {choice.stages for choice in asked} == stages
    assert {choice.tile for choice in asked} == tiles


def test_the_best_is_found_step_by_step() -> None:
    measure, _ = clocked(lambda choice: 2.0 - 0.3 * (choice.tile == 4096) - 0.3 * (choice.tile >= 2048))
    result = tune(START, measure)
    assert result.best.choice.tile == 4096
    assert result.gap == pytest.approx(2.0 / 1.4 - 1)


def test_noise_wins_nothing() -> None:
    times = iter([1.0, 1.04, 0.98, 1.01, 1.0])  # the clock's noise is 6 %
    measure, _ = clocked(lambda choice: next(times, 0.96))
    result = tune(START, measure)
    assert result.best.choice == START
    assert result.noise == pytest.approx(0.06)


def test_what_is_stored_is_launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acts = handmade.import_package(tmp_path)
    folder = Path(str(acts.__file__)).parent

    def time(call: Callable[[], object], where: torch.device) -> float:
        (shape,) = getclosurevars(call).nonlocals["launcher"]._choices.values()
        return 1.0 if shape[0] == 2048 else 2.0

    session = Session(folder, 8, time, torch.device("cpu"))
    found = dict(session.results("silu", "float32", profiled=False))
    assert list(found) == ["_silu_kernel/float32", "_silu_grad_kernel/float32"]
    assert {result.best.choice.tile for result in found.values()} == {2048}
    store(folder, "A GPU", {key: result.best.choice for key, result in found.items()})
    store(folder, "Another", {"_silu_kernel/float32": Choice(512, 2, 1)})
    launch: Any = __import__(f"{acts.__name__}._launch", fromlist=["choice"])
    launch._tuned.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: ["A GPU", "Another", "A third"][index])
    kernel = SimpleNamespace(__name__="_silu_kernel")
    chosen = [launch.choice(kernel, torch.float32, index) for index in (0, 1, 2, -1)]
    assert chosen[0][0] == 2048
    assert chosen[1] == (512, 2, 1)
    assert chosen[2] == chosen[3] == (1024, 4, 3)
    assert launch.choice(kernel, torch.bfloat16, 0) == (2048, 4, 3)


def test_tuning_needs_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["tune", "mish"]) == 2
    assert "predicts without one" in capsys.readouterr().err


def test_stopped_tuning_keeps_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped:
        gpu = "A GPU"

        def __init__(self, *_: object) -> None: ...

        def results(self, name: str, dtype: str, profiled: bool) -> Iterator[tuple[str, Result]]:
            if dtype == "bfloat16":
                raise KeyboardInterrupt
            trial = Trial(Choice(2048, 4, 3), 1.0, "static")
            yield f"_{name}_kernel/{dtype}", Result((trial,), trial, 0.01)

    monkeypatch.setattr(tuned, "Session", Stopped)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generated").mkdir()
    (tmp_path / "a.act").write_text("f(x) = x + 1", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.dslgen]\nspecs = ["a.act"]\n', encoding="utf-8")
    assert _run(["tune", "f"]) == 130
    assert "stopped: generated keeps the 1 choices that were found" in capsys.readouterr().err
    held = json.loads((tmp_path / "generated/_tuned.json").read_text(encoding="utf-8"))
    assert held == {"A GPU": {"_f_kernel/float32": [2048, 4, 3]}}
    assert _run(["tune", "f", "--dry-run"]) == 130
    assert "nothing is kept" in capsys.readouterr().err
