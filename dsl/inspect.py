"""What the kernels of a generated package compile to, counted. Needs no GPU.

In: an imported package, an activation, a dtype and a target: `sm_80`, `sm_89`, `sm_90`, `sm_100`, `gfx942`,
`gfx950` or the like, or a GPU of `dsl/gpus/`. Out: `Counts`, from the machine code that the package's own
launches would run on large, aligned tensors. `dslgen inspect` prints the table.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dsl.gpu import find, gpus
from dsl.predict import predict

KINDS = ("value", "gradient")
IN_TRAINING = ("training_value", "training_gradient")
"""The kernels that activations have besides which draw numbers in training."""
TRITON: str = triton.__version__
"""The version that compiles here: another one counts otherwise."""
ELEMENTS = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64"}
"""The dtypes of a kernel's tensors, and what Triton calls them."""

_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_NVIDIA_LINE = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)", re.MULTILINE)
_AMD_LINE = re.compile(r"^\s+((?:v|s|global|buffer|flat|scratch|ds)_\w+)", re.MULTILINE)
_NVIDIA_SPECIAL = ("MUFU.", "I2F.", "F2I.", "FRND.", "F2F.")
_AMD_SPECIAL = tuple(f"v_{name}_" for name in "exp log rcp rsq sqrt sin cos".split())
_AMD_WIDTH = {"dwordx4": 128, "b128": 128, "dwordx3": 96, "dwordx2": 64, "b64": 64, "dword": 32, "b32": 32}
_NVIDIA_WIDTH = re.compile(r"\.(256|128|96|64|U?S?16|U?S?8)\b")


@dataclass(frozen=True)
class Counts:
    """A compiled kernel in numbers: whole-kernel counts over the elements of a thread, and what it uses.

    `special` counts the instructions of the slow unit (reciprocals, exponentials, conversions through it).
    `spills` is local memory in bytes a thread, 0 where everything stays in registers. `loads` and `stores`
    are the widths of the accesses to global memory, in bits.
    """

    elements: int
    instructions: float
    special: float
    registers: int
    spills: int
    branches: int
    loads: tuple[int, ...]
    stores: tuple[int, ...]


class UnknownTarget(Exception):
    """A name that is no GPU's; the message says what they look like."""


def parse_target(name: str) -> GPUTarget:
    """What Triton calls a target; raises `UnknownTarget` for a name of another form.

    >>> parse_target("sm_90").arch, parse_target("gfx942").warp_size
    (90, 64)
    """
    gpu = find(name)
    name = name if gpu is None else gpu.target
    if re.fullmatch(r"sm_\d+", name):
        return GPUTarget("cuda", int(name[3:]), 32)
    if re.fullmatch(r"gfx\w+", name):
        return GPUTarget("hip", name, 64)
    known = ", ".join(gpus())
    raise UnknownTarget(f"no target '{name}': they are called sm_90, gfx942 and the like, or {known}")


def activations(package: ModuleType) -> tuple[str, ...]:
    """The names of a package's activations: those of its modules that have an operator."""
    assert package.__file__ is not None
    files = sorted(Path(package.__file__).parent.glob("[!_]*.py"))
    return tuple(file.stem for file in files if hasattr(_module(package, file.stem), "_operator"))


def kinds(package: ModuleType, name: str) -> tuple[str, ...]:
    """An activation's kernels: its value and gradient, and those in training if they are others."""
    return KINDS + IN_TRAINING if hasattr(_module(package, name), "_training_operator") else KINDS


def kernel(package: ModuleType, name: str, kind: str) -> Any:
    """The kernel of an activation's value or gradient."""
    module = _module(package, name)
    operator = module._training_operator if kind in IN_TRAINING else module._operator
    kind = kind.removeprefix("training_")
    if hasattr(operator, "_kernels"):  # of several inputs, or over rows: by the first of them
        found = operator._kernels[KINDS.index(kind)]
        return getattr(found, "whole", found)
    return {"value": operator._launch, "gradient": operator._launch_grad}[kind]._kernel


def compile_kernel(package: ModuleType, name: str, kind: str, dtype: str, target: str) -> tuple[Any, int]:
    """A kernel as the package launches it on large, aligned tensors; and the elements of a thread."""
    import torch

    function = kernel(package, name, kind)
    if "block" in function.arg_names:
        return _compile_rows(function, dtype, target)
    launch = _module(package, "_launch")
    tile, warps = launch._TILE[getattr(torch, dtype)], launch._WARPS
    constants = {"tile": tile, "wide": False, "fast": dtype in ("float16", "bfloat16")}
    names = function.arg_names
    counts = ["start", "n"]
    if "by_row" in names:  # learnable parameters
        return _compile_tiled(package, function, dtype, target)
    if "strided" in names:  # several inputs: all of one dense layout, all gradients wanted
        choice, end = names.index("strided"), names.index("start")
        counts += names[names.index("columns") : choice]
        constants |= {"strided": False, "scattered": False, **dict.fromkeys(names[choice + 2 : end], True)}
    signature, aligned = {}, []
    for place, argument in enumerate(names):
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument.endswith("_ptr"):
            signature[argument] = "*i64" if argument == "seed_ptr" else f"*{ELEMENTS[dtype]}"
            aligned.append(place)
        elif argument in counts:
            signature[argument] = "i32"
            aligned.append(place)
        else:
            signature[argument] = "fp64"
    attributes = {(place,): [["tt.divisibility", 16]] for place in aligned}
    source = ASTSource(function, signature, constants, attributes)
    gpu = parse_target(target)
    compiled = triton.compile(source, target=gpu, options={"num_warps": warps})
    return compiled, tile // (warps * gpu.warp_size)


def _compile_tiled(package: ModuleType, function: Any, dtype: str, target: str) -> tuple[Any, int]:
    """A kernel with learnable parameters, all of them wanted, where a channel's elements lie in long runs."""
    learned, launch = _module(package, "_learned"), _module(package, "_launch")
    names = function.arg_names
    choice = names.index("by_row")
    shape = {"by_row": True, "height": 1, "width": learned._TILE, "wide": False}
    shape |= {"strided": False, "scattered": False, "fast": dtype in ("float16", "bfloat16")}
    constants = {name: shape.get(name, True) for name in names[choice:]}
    sums = "fp64" if dtype == "float64" else "fp32"
    signature, aligned = {}, []
    pointers = [name for name in names if name.endswith("_ptr")]
    # Of gradients: the inputs, the incoming gradient, the parameters, and what is written of each.
    inputs = names.index("grad_ptr") if "grad_ptr" in names else 0
    written = pointers[1 + len(pointers) // 2 + inputs :] if inputs else []
    for place, argument in enumerate(names):
        pointer = argument.endswith("_ptr")
        if argument in constants:
            signature[argument] = "constexpr"
        elif pointer:
            signature[argument] = f"*{sums if argument in written else ELEMENTS[dtype]}"
        else:
            signature[argument] = "i32" if place >= names.index("rows") else "fp64"
        if pointer or argument == "columns":
            aligned.append(place)
    attributes = {(place,): [["tt.divisibility", 16]] for place in aligned}
    gpu = parse_target(target)
    source = ASTSource(function, signature, constants, attributes)
    warps = launch._WARPS
    compiled = triton.compile(source, target=gpu, options={"num_warps": warps})
    return compiled, learned._TILE // (warps * gpu.warp_size)


ROW = 4096
"""Elements of the rows that kernels over rows are counted for; a program takes one."""
_ROW_WARPS = 8


def _compile_rows(function: Any, dtype: str, target: str) -> tuple[Any, int]:
    """A kernel over rows that lie one after the other and fit on chip."""
    fixed = {"inner": 1, "rows": 1, "block": ROW, "wide": False, "fast": dtype in ("float16", "bfloat16")}
    signature, aligned = {}, []
    constants = {name: value for name, value in fixed.items() if name in function.arg_names}
    for place, argument in enumerate(function.arg_names):
        if argument.endswith("_step"):
            constants[argument] = 1
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument.endswith("_ptr"):
            signature[argument] = f"*{ELEMENTS[dtype]}"
            aligned.append(place)
        elif argument in ("count", "n") or argument.endswith(("_group", "_row")):
            signature[argument] = "i32"
            aligned += [place] if argument != "count" else []
        else:
            signature[argument] = "fp64"
    source = ASTSource(
        function, signature, constants, {(place,): [["tt.divisibility", 16]] for place in aligned}
    )
    gpu = parse_target(target)
    compiled = triton.compile(source, target=gpu, options={"num_warps": _ROW_WARPS})
    return compiled, ROW // (_ROW_WARPS * gpu.warp_size)


def count(package: ModuleType, name: str, kind: str, dtype: str, target: str) -> Counts:
    """What an activation's kernel compiles to."""
    compiled, elements = compile_kernel(package, name, kind, dtype, target)
    counted = _count_nvidia if "cubin" in compiled.asm else _count_amd
    return counted(compiled.asm, elements)


def _module(package: ModuleType, name: str) -> ModuleType:
    return importlib.import_module(f"{package.__name__}.{name}")


def _count_nvidia(asm: Mapping[str, Any], elements: int) -> Counts:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()
        text = _run("nvdisasm", "-c", "-ndf", file.name)
        usage = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", _run("cuobjdump", "-res-usage", file.name)))
    names = _NVIDIA_LINE.findall(text)
    last = len(names) - names[::-1].index("EXIT")
    names = [name for name in names[:last] if name != "NOP"]  # after the last EXIT comes padding
    local = any(name.startswith(("LDL", "STL")) for name in names)
    return Counts(
        elements=elements,
        instructions=len(names) / elements,
        special=sum(name.startswith(_NVIDIA_SPECIAL) for name in names) / elements,
        registers=int(usage["REG"]),
        spills=max(int(usage["STACK"]), int(usage["LOCAL"]), int(local)),
        branches=sum(name.startswith(("BRA", "BRX", "CALL")) for name in names),
        loads=tuple(_nvidia_width(name) for name in names if name.startswith("LDG")),
        stores=tuple(_nvidia_width(name) for name in names if name.startswith("STG")),
    )


def _nvidia_width(name: str) -> int:
    """The bits that an instruction moves.

    >>> [_nvidia_width(f"LDG.E{suffix}") for suffix in (".128.CONSTANT", ".U16", "", ".ENL2.256")]
    [128, 16, 32, 256]
    """
    found = _NVIDIA_WIDTH.search(name)
    return int(found[1].strip("US")) if found else 32


def _run(tool: str, *arguments: str) -> str:
    command = [str(_TOOLS / tool), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _count_amd(asm: Mapping[str, Any], elements: int) -> Counts:
    text = asm["amdgcn"]
    names = [name for name in _AMD_LINE.findall(text) if not name.startswith(("s_nop", "s_code_end"))]

    def number(key: str) -> int:
        found = re.search(rf"\.{key}:\s+(\d+)", text)
        assert found is not None, key
        return int(found[1])

    local = any(name.startswith("scratch_") for name in names)
    spilled = number("vgpr_spill_count") + number("sgpr_spill_count")
    return Counts(
        elements=elements,
        instructions=len(names) / elements,
        special=sum(name.startswith(_AMD_SPECIAL) for name in names) / elements,
        registers=number("vgpr_count"),
        spills=max(number("private_segment_fixed_size"), spilled, int(local)),
        branches=sum(name.startswith(("s_cbranch", "s_branch", "s_call")) for name in names),
        loads=tuple(_amd_width(name) for name in names if re.match("(global|buffer|flat)_load", name)),
        stores=tuple(_amd_width(name) for name in names if re.match("(global|buffer|flat)_store", name)),
    )


def _amd_width(name: str) -> int:
    """The bits that an instruction moves.

    >>> [_amd_width(f"global_load_{suffix}") for suffix in ("dwordx4", "ushort", "dword", "ubyte_d16")]
    [128, 16, 32, 8]
    """
    kind = name.split("_")[2]
    return _AMD_WIDTH.get(kind, 8 if "byte" in kind else 16)


def table(
    package: ModuleType, target: str, dtypes: Sequence[str], names: Sequence[str] = ()
) -> dict[str, Counts]:
    """The counts of a package's kernels for a target, or of those named, by `target/dtype/name/kind`."""
    return {
        f"{target}/{dtype}/{name}/{kind}": count(package, name, kind, dtype, target)
        for dtype in dtypes
        for name in names or activations(package)
        for kind in kinds(package, name)
    }


def as_markdown(rows: Mapping[str, Counts]) -> str:
    """The counts as a table, a kernel a line."""
    lines = ["| kernel | instructions | special | registers | spills | branches | loads | stores |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for key, row in rows.items():
        widths = [" ".join(map(str, sorted(set(each)))) for each in (row.loads, row.stores)]
        numbers = [f"{row.instructions:.1f}", f"{row.special:.1f}"]
        numbers += [str(each) for each in (row.registers, row.spills, row.branches)]
        lines.append(f"| {key} | {' | '.join(numbers + widths)} |")
    return "\n".join(lines)


def predictions(rows: Mapping[str, Counts], target: str) -> str:
    """How long the kernels take on a GPU that has a file of figures, as a table; empty for other targets."""
    gpu = find(target)
    if gpu is None:
        return ""
    lines = [f"Predicted for {gpu.name}, picoseconds per element:", ""]
    lines.append("| kernel | time | limit | memory | issue | special | warps of a processor |")
    lines.append("|---|---|---|---|---|---|---|")
    for key, row in rows.items():
        found = predict(row, gpu)
        times = " | ".join(f"{each:.2f}" for each in (found.memory, found.issue, found.special))
        lines.append(
            f"| {key} | {found.total:.2f} | {found.limit} | {times} | {found.warps} of {gpu.warps} |"
        )
    return "\n".join(lines)


def as_json(rows: Mapping[str, Counts]) -> str:
    """The counts as JSON, a kernel a line, so that a review sees what changed."""
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(asdict(row))}" for key, row in rows.items())
    return f'{{"triton": {json.dumps(TRITON)}, "kernels": {{\n{lines}\n}}}}\n'


def from_json(text: str) -> tuple[str, dict[str, Counts]]:
    """What `as_json` wrote: the version of Triton that compiled the kernels, and their counts.

    >>> row = Counts(8, 20.5, 1.0, 32, 0, 0, (128,), (128,))
    >>> from_json(as_json({"sm_90/float32/f/value": row}))[1]["sm_90/float32/f/value"] == row
    True
    """
    read = json.loads(text)
    rows = {
        key: Counts(**{**row, "loads": tuple(row["loads"]), "stores": tuple(row["stores"])})
        for key, row in read["kernels"].items()
    }
    return read["triton"], rows


def differences(before: Mapping[str, Counts], now: Mapping[str, Counts]) -> list[str]:
    """What differs between two tables, a kernel a line.

    >>> row = Counts(8, 20.5, 1.0, 32, 0, 0, (128,), (128,))
    >>> from dataclasses import replace
    >>> differences({"a": row, "b": row}, {"a": replace(row, registers=40), "c": row})
    ['a: registers 32 -> 40', 'b: no such kernel any more', 'c: not in the table']
    """
    found = []
    for key in sorted({*before, *now}):
        if key not in now:
            found.append(f"{key}: no such kernel any more")
        elif key not in before:
            found.append(f"{key}: not in the table")
        elif before[key] != now[key]:
            old, new = asdict(before[key]), asdict(now[key])
            changed = [f"{name} {old[name]} -> {new[name]}" for name in old if old[name] != new[name]]
            found.append(f"{key}: {', '.join(changed)}")
    return found
