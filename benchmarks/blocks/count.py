"""Counts what each building block costs: a target in, machine instructions per element out. Needs no GPU.

Run `python benchmarks/blocks/count.py [TARGET...]`, TARGET being sm_90, gfx942 or the like. A kernel that
loads, calls the block and stores is compiled beside one that only copies; the difference, over the elements
of a thread, is the block's cost. NVIDIA's counts come from the disassembled machine code.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import triton
from triton.backends.compiler import GPUTarget

MATH = Path(__file__).resolve().parents[2] / "dsl" / "support" / "_math.py"
PER_THREAD = 8
KERNEL = """
import triton
import triton.language as tl
import building_blocks as _math


@triton.jit
def kernel(X, Y, OUT, COUNT, fast: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    x = tl.load(X + i, mask=i < COUNT)
    y = {second}
    tl.store(OUT + i, {call}, mask=i < COUNT)
"""
UNARY = (
    "exp exp_high exp_low expm1 log log1p log1p_unit erf erfcx mills sin cos asin acos atan cbrt sqrt".split()
)
BINARY = "exp_sum exp_sum_high ratio pow".split()
UNTIERED = "sign floor ceil round".split()
UNTIERED_BINARY = "maximum minimum product_error".split()
CALLS = (
    {name: f"_math.{name}(x, fast)" for name in UNARY}
    | {name: f"_math.{name}(x, y, fast)" for name in BINARY}
    | {name: f"_math.{name}(x)" for name in UNTIERED}
    | {name: f"_math.{name}(x, y)" for name in UNTIERED_BINARY}
    | {"pow_sum": "_math.pow_sum(x, 0.699999988079071, 1.1920928955078125e-08, fast)"}
)


@dataclass(frozen=True)
class Cost:
    """Instructions of a compiled kernel, those of the special unit, and whether it uses local memory."""

    instructions: int
    special: int
    local: bool


def load(path: Path, name: str) -> ModuleType:
    """The module in a file, registered under a name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def parse_target(name: str) -> GPUTarget:
    """`sm_90` or `gfx942` as Triton says it."""
    if name.startswith("sm_"):
        return GPUTarget("cuda", int(name[3:]), 32)
    return GPUTarget("hip", name, 64)


def compile_call(call: str, binary: bool, dtype: str, fast: bool, target: GPUTarget, folder: Path) -> Any:
    """The compiled kernel for one call."""
    source = folder / f"kernel_{abs(hash((call, binary)))}.py"
    source.write_text(KERNEL.format(call=call, second="tl.load(Y + i, mask=i < COUNT)" if binary else "x"))
    kernel = load(source, source.stem).kernel
    threads = target.warp_size * 4
    signature = {"X": f"*{dtype}", "Y": f"*{dtype}", "OUT": f"*{dtype}", "COUNT": "i32"}
    signature |= {"fast": "constexpr", "SIZE": "constexpr"}
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(4)}
    constants = {(4,): fast, (5,): threads * PER_THREAD}
    ast = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    return triton.compile(ast, target=target, options={"num_warps": 4})


def nvidia_cost(compiled: Any, folder: Path) -> Cost:
    """From the machine code."""
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    text = subprocess.run([tool, "-c", cubin], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+\s+)?([A-Z0-9_.]+)", text, re.MULTILINE)
    names = names[: names.index("EXIT", len(names) - 1 - names[::-1].index("EXIT")) + 1]
    body = [n for n in names if not n.startswith("NOP")]
    special = sum(n.startswith(("MUFU", "I2F", "F2I", "FRND", "F2F")) for n in body)
    return Cost(len(body), special, any(n.startswith(("LDL", "STL")) for n in body))


def amd_cost(compiled: Any, folder: Path) -> Cost:
    """From the assembler text."""
    text = compiled.asm["amdgcn"]
    body = re.findall(r"^\s+([vs]_[a-z0-9_]+|global_\w+|buffer_\w+|scratch_\w+)", text, re.MULTILINE)
    special = sum(n.startswith(("v_exp", "v_log", "v_rcp", "v_sqrt", "v_rsq")) for n in body)
    scratch = re.search(r"\.private_segment_fixed_size:\s*(\d+)", text)
    return Cost(len(body), special, bool(scratch and int(scratch[1])))


def measure(name: str, dtype: str, fast: bool, target: GPUTarget, folder: Path) -> tuple[float, float, bool]:
    """Instructions and special ones per element beyond the copy, and whether local memory is used."""
    binary = name in BINARY + UNTIERED_BINARY
    cost = nvidia_cost if target.backend == "cuda" else amd_cost
    # The copy of two inputs keeps both alive with one cheap operation, counted as free.
    copy = "x + y" if binary else "x"
    base = cost(compile_call(copy, binary, dtype, fast, target, folder), folder)
    block = cost(compile_call(CALLS[name], binary, dtype, fast, target, folder), folder)
    less = PER_THREAD if binary else 0
    instructions = (block.instructions - base.instructions + less) / PER_THREAD
    return instructions, (block.special - base.special) / PER_THREAD, block.local


def main(names: list[str]) -> None:
    """Prints a table for each target."""
    load(MATH, "building_blocks")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in names or ["sm_80", "sm_89", "sm_90", "sm_100", "gfx942", "gfx950"]:
            target = parse_target(name)
            print(f"\n{name}: instructions (special ones) per element; L: local memory")
            print("| block | float32 | fast | float64 |\n|---|---|---|---|")
            for block in CALLS:
                cells = []
                for dtype, fast in (("fp32", False), ("fp32", True), ("fp64", False)):
                    count, special, local = measure(block, dtype, fast, target, folder)
                    cells.append(f"{count:.1f} ({special:.1f}){' L' if local else ''}")
                print(f"| {block} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
