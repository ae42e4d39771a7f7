"""Definitions in another form than that of a package: `dslgen emit`.

In: activations, a style and a directory. Out: what it takes to have the files of that style there. A style is
a row of `STYLES`: the folder that it fills, and its files.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path

from dsl.activation import Activation
from dsl.build import (
    BuildError,
    Output,
    Plan,
    generated_files,
    module_output,
    plan_outputs,
    stamped,
    support_outputs,
    text_output,
)
from dsl.certificate import Certificate
from dsl.targets import hub, package

_HUB_NAME = re.compile(r"[a-z][-a-z0-9]*[a-z0-9]\Z")


@dataclass(frozen=True)
class Style:
    """A form of output: the folder that it fills, and its files.

    They are made of activations, the certificates that there are, and the name of the directory given.
    """

    folder: str
    files: Callable[[Sequence[Activation], Mapping[str, Certificate], str], list[Output]]


def plan(activations: Sequence[Activation], style: str, out: Path, held: Mapping[str, Certificate]) -> Plan:
    """What it takes to have activations in a style; `held` are the certificates that their modules quote.

    What was generated in the style's folder and is not among its files goes. Raises `BuildError` where a name
    does not fit or a file of someone else's is in the way.
    """
    row = STYLES[style]
    outputs = row.files(activations, held, out.absolute().name)
    folder = out / row.folder
    made = {output.name for output in outputs}
    return plan_outputs(outputs, folder, [path for path in generated_files(folder) if path.name not in made])


def _hub_kernel(
    activations: Sequence[Activation], held: Mapping[str, Certificate], directory: str
) -> list[Output]:
    """A package with layers, and `metadata.json`, which holds the digests of all the others."""
    name = directory.lower().replace("_", "-")
    if not _HUB_NAME.match(name):
        raise BuildError(
            f"'{directory}' is no name for a kernel: two or more letters, digits and dashes, a letter first; "
            "choose another directory, such as my-activations"
        )
    for each in activations:
        if "layers" in package.public_names(each):
            raise BuildError(
                f"{each.name}: 'layers' is a module of every kernel for the Hub; choose another name"
            )
    origin = ", ".join(sorted({Path(each.path).name for each in activations}))
    outputs = [
        _made_once(output)
        for output in (
            *(module_output(each, held.get(each.name)) for each in activations),
            *support_outputs(),
            text_output("layers.py", origin, hub.layers(activations)),
            text_output("__init__.py", origin, hub.init(activations)),
        )
    ]
    sources = sha256("\0".join(output.inputs for output in outputs).encode()).hexdigest()
    mark = f"_{name.replace('-', '_')}_dslgen_"

    def metadata() -> str:
        return hub.metadata(name, mark + sources[:16], {each.name: _sha256(each) for each in outputs})

    return [*outputs, Output("metadata.json", "", sources, metadata, mark)]


def _made_once(output: Output) -> Output:
    return replace(output, make=cache(output.make))


def _sha256(output: Output) -> str:
    return b64encode(sha256(stamped(output).encode()).digest()).decode()


STYLES: dict[str, Style] = {
    "hf-kernel": Style("build/torch-universal", _hub_kernel),
}
"""The styles by the names that `--style` takes."""
