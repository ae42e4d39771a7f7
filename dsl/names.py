"""Which names a spec may give, and what a definition's class is called.

In: a name and what it is to name. Out: why it cannot be used, or None.
"""

from __future__ import annotations

import builtins
import keyword
import re

from dsl.ops import CONSTANTS, FUNCTIONS

RESERVED: frozenset[str] = frozenset(
    "self inplace fast torch triton tl nn math float int bool str tuple len type super isinstance".split()
)
"""Names that generated code has for its own: a parameter `inplace` would be the module's second `inplace`."""

CLAUSES: frozenset[str] = frozenset(
    "with reference domain require accuracy gradient packed concat alias module model".split()
)
"""Words that begin a clause or a statement, and so cannot begin a definition."""

MODULE_ATTRIBUTES: frozenset[str] = frozenset(
    """T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double
    dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu
    load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ reset_parameters set_extra_state set_submodule share_memory
    state_dict to to_empty train training type xpu zero_grad""".split()
)
"""What every `nn.Module` has, and `reset_parameters`: names that a learnable parameter cannot take."""

_MAX_LENGTH = 100
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\Z", re.IGNORECASE)
_MODULE_NAMES: frozenset[str] = frozenset(dir(builtins)) - set(FUNCTIONS)


def objection(name: str, defines: bool = False) -> tuple[str, str | None] | None:
    """Why a name cannot be given, and what to write instead; None if it can.

    `defines` says that the name is a definition's or an alias, and so names a function or a file too.

    >>> objection("lambda")
    ("'lambda' is a Python keyword", "write 'lambda_'")
    >>> objection("beta") is None
    True
    """
    if keyword.iskeyword(name):
        return f"'{name}' is a Python keyword", f"write '{name}_'"
    if name.startswith("_"):
        return f"'{name}' starts with an underscore", "such names belong to the generated code"
    if name in CONSTANTS:
        return f"'{name}' is a constant of the language", f"write '{name}_'"
    if name in RESERVED:
        return f"'{name}' is a name that the generated code uses", f"write '{name}_'"
    if len(name) > _MAX_LENGTH:
        return f"a name has at most {_MAX_LENGTH} characters", None
    if defines and name in CLAUSES:
        return f"'{name}' begins a clause and cannot name a definition", f"write '{name}_'"
    if defines and (name in _MODULE_NAMES or _DEVICES.match(name)):
        return f"'{name}' would hide a built-in of Python or cannot name a file", f"write '{name}_'"
    return None


def camel_case(name: str) -> str:
    """The class's name by default.

    >>> camel_case("gelu_tanh")
    'GeluTanh'
    """
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
