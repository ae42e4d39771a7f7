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
    model_output,
    module_output,
    plan_outputs,
    stamped,
    support_outputs,
    text_output,
)
from dsl.certificate import Certificate
from dsl.model import Model
from dsl.targets import bundled_files, hub, modelnew, package

_HUB_NAME = re.compile(r"[a-z][-a-z0-9]*[a-z0-9]\Z")


Subject = Activation | Model


@dataclass(frozen=True)
class Style:
    """A form of output: the folder that it fills, and its files.

    They are made of activations and models, the certificates that there are, and the name of the directory.
    """

    folder: str
    files: Callable[[Sequence[Subject], Mapping[str, Certificate], str], list[Output]]


def plan(subjects: Sequence[Subject], style: str, out: Path, held: Mapping[str, Certificate]) -> Plan:
    """What it takes to have activations and models in a style.

    `held` are the certificates that their modules quote. What was generated in the style's folder and is not
    among its files goes. Raises `BuildError` where a name does not fit or a file of someone else's is in the
    way.
    """
    row = STYLES[style]
    outputs = row.files(subjects, held, out.absolute().name)
    folder = out / row.folder
    made = {output.name for output in outputs}
    return plan_outputs(outputs, folder, [path for path in generated_files(folder) if path.name not in made])


def _hub_kernel(subjects: Sequence[Subject], held: Mapping[str, Certificate], directory: str) -> list[Output]:
    """A package with layers, and `metadata.json`, which holds the digests of all the others."""
    activations = [each for each in subjects if isinstance(each, Activation)]
    if subjects and not activations:
        raise BuildError(f"{subjects[0].name}: a kernel for the Hub holds activations, and no models")
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


def _modelnew(subjects: Sequence[Subject], held: Mapping[str, Certificate], directory: str) -> list[Output]:
    """A file for each activation and model, of one class called `ModelNew`."""
    return [_one_file(each, held) for each in subjects]


def _one_file(subject: Subject, held: Mapping[str, Certificate]) -> Output:
    called = subject.activations if isinstance(subject, Model) else (subject,)
    outputs = {each.name: module_output(each, held.get(each.name)) for each in called}
    if isinstance(subject, Model):
        outputs[subject.name] = model_output(subject)
    inputs = sha256("\0".join(each.inputs for each in outputs.values()).encode()).hexdigest()[:32]

    def text() -> str:
        modules = {name: output.make() for name, output in outputs.items()}
        return text_output("", "", modelnew.source(subject, modules, bundled_files())).make()

    return Output(f"{subject.name}.py", outputs[subject.name].origin, inputs, text)


STYLES: dict[str, Style] = {
    "hf-kernel": Style("build/torch-universal", _hub_kernel),
    "modelnew": Style("", _modelnew),
}
"""The styles by the names that `--style` takes."""
