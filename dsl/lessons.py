"""What each error means, with an example that is wrong and one that is right: `dslgen explain E0101`.

In: nothing (plain data). Out: `LESSONS`, a row for every code. Tests run all the examples.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """Why there is such an error, and two examples: specs, or where `shell` says so, commands."""

    why: str
    wrong: str
    right: str
    shell: bool = False


LESSONS: dict[str, Lesson] = {
    "E0001": Lesson(
        "A path was given at which there is neither a file nor a directory. Paths are relative to where "
        "the command runs; those of [tool.dslgen] are relative to the pyproject.toml that names them.",
        "dslgen check mysterious.act",
        "echo 'f(x) = x' > known.act\ndslgen check known.act",
        shell=True,
    ),
    "E0002": Lesson(
        "A path that ends in .act is a spec file, and this one is a directory. A directory of specs has "
        "any other name.",
        "mkdir specs.act\ndslgen check specs.act",
        "mkdir specs\necho 'f(x) = x' > specs/f.act\ndslgen check specs",
        shell=True,
    ),
    "E0003": Lesson(
        "A spec file has at most 512 KiB, ten times what a thousand formulas need. Probably it is not a "
        "spec; otherwise divide it: all files of a project see each other's definitions.",
        "head -c 600000 /dev/zero > large.act\ndslgen check large.act",
        "echo 'f(x) = x' > f.act\necho 'g(x) = 2 * x' > g.act\ndslgen check f.act g.act",
        shell=True,
    ),
    "E0004": Lesson(
        "Spec files are UTF-8. This one has a byte that is not; an editor that saved it in an older "
        "encoding can save it as UTF-8, or `iconv -f latin1 -t utf-8` turns it.",
        r"printf '# Andr\351\nf(x) = x\n' > name.act" "\ndslgen check name.act",
        r"printf '# Andr\303\251\nf(x) = x\n' > name.act" "\ndslgen check name.act",
        shell=True,
    ),
    "E0005": Lesson(
        "The file is there and cannot be read: its permissions forbid it, its disk failed, or its name "
        "has characters that cannot be printed, and the name is written into what is generated.",
        r"""echo 'f(x) = x' > "$(printf 'a\tb.act')" """ "\ndslgen check .",
        "echo 'f(x) = x' > a_b.act\ndslgen check .",
        shell=True,
    ),
    "E0101": Lesson(
        "Neither the language nor the project has a function of this name. The language's functions are "
        "listed in its reference; a project's own may stand in any of its files. A number before brackets "
        "is no product: write the `*`.",
        "f(x) = softplu(x)",
        "f(x) = softplus(x)",
    ),
    "E0102": Lesson(
        "A function was called with more or fewer arguments than it takes, a definition has no input, or a "
        "tuple of outputs has one. "
        "A definition takes its input first and then, if it has any, its parameters.",
        "f(x) = where(x > 0, x)",
        "f(x) = where(x > 0, x, 0)",
    ),
    "E0103": Lesson(
        "Something stands where the language has no place for it. Products are written with `*`: `2x` and "
        "`(a)(b)` are not; a definition begins with `name(inputs) =`, and its clauses come after the "
        "formula.",
        "f(x) = 2x + 1",
        "f(x) = 2 * x + 1",
    ),
    "E0104": Lesson(
        "A bracket is never closed, closes nothing, or is closed by one of another kind.",
        "f(x) = exp((x + 1)",
        "f(x) = exp((x + 1))",
    ),
    "E0105": Lesson(
        "Powers are written `a**b`, as in Python. `^` is a power in some languages and an exclusive or in "
        "others, so that it is neither here. `dslgen check --fix` replaces it.",
        "f(x) = x^2",
        "f(x) = x**2",
    ),
    "E0106": Lesson(
        "A name that is no input, no parameter, no `with` that stands before, and no constant (`pi`, `e`, "
        "`inf`). Parameters are declared after a semicolon.",
        "swish(x) = x * sigmoid(beta * x)",
        "swish(x; beta = 1) = x * sigmoid(beta * x)",
    ),
    "E0107": Lesson(
        "The name is taken: by Python, by the language, or by the code that is generated, in which it "
        "becomes an argument, a file or a class. A trailing underscore is the usual way out.",
        "f(x; lambda = 0.5) = lambda * x",
        "f(x; lambda_ = 0.5) = lambda_ * x",
    ),
    "E0108": Lesson(
        "Two things would have one name: definitions, aliases and classes of a project share one package, "
        "and files on some disks differ by more than case. Rename one; a class's name is set by `module`.",
        "f(x) = x\nf(x) = 2 * x",
        "f(x) = x\ng(x) = 2 * x",
    ),
    "E0109": Lesson(
        "A definition calls itself, directly or by way of others. A call means what the callee's formula "
        "says, so that it would have to be written out without end.",
        "f(x) = g(x) + 1\ng(x) = f(x)",
        "f(x) = g(x) + 1\ng(x) = tanh(x)",
    ),
    "E0110": Lesson(
        "A divisor is zero whatever the input is, or a power of zero is negative. A quotient that is 0/0 "
        "at some inputs only, such as `sin(x) / x`, is fine: it has its limit there.",
        "f(x) = x / (1 - 1)\ng(x) = x / 0",
        "f(x) = x / 2",
    ),
    "E0111": Lesson(
        "An expression nests deeper than 10,000, in brackets or in operators. Give its parts names with "
        "`with`.",
        """printf 'f(x) = %sx\\n' "$(printf -- '-%.0s' $(seq 10001))" > deep.act\ndslgen check deep.act""",
        "printf 'f(x) = -u\\n  with u = -x\\n' > flat.act\ndslgen check flat.act",
        shell=True,
    ),
    "E0112": Lesson(
        "Numbers, conditions and tuples do not mix: a comparison is no 0 or 1, and a number is not true or "
        "false. `where(condition, a, b)` makes a number of a condition, a comparison makes a condition of a "
        "number.",
        "f(x) = (x > 0) * x",
        "f(x) = where(x > 0, x, 0)",
    ),
    "E0113": Lesson(
        "A character that is none of the language's. Names are in ASCII, and operators as a keyboard has "
        "them. Characters that cannot be seen are refused everywhere, since a reader could not know of "
        "them.",
        "f(x) = x \N{MULTIPLICATION SIGN} tanh(x)",
        "f(x) = x * tanh(x)",
    ),
    "E0114": Lesson(
        "A string begins and does not end. One that spans lines is written between triple quotes.",
        '"Smooth, and then linear.\nf(x) = softplus(x)',
        '"""Smooth,\nand then linear."""\nf(x) = softplus(x)',
    ),
    "E0115": Lesson(
        "A clause is written in a way that it does not have, stands twice where once is the most, or is for "
        "definitions of several inputs or outputs.",
        "f(x) = x\n  accuracy forwards 2 ulp",
        "f(x) = x\n  accuracy forward 2 ulp, backward 4 ulp",
    ),
    "E0116": Lesson(
        "Numbers are kept exactly, so that they are bounded: 1,000 digits and an exponent within 4,000.",
        "f(x) = 1e99999 * x",
        "f(x) = 1e99 * x",
    ),
    "E0117": Lesson(
        "A parameter's default has no finite value of its own, or is missing: those without a default "
        "come first, and a call gives them.",
        "f(x; a) = a * x\ng(x) = f(x)",
        "f(x; a) = a * x\ng(x) = f(x, 2)",
    ),
    "E0118": Lesson(
        "A `require` is not met by the defaults or by a call, or it speaks of the input. It constrains "
        "parameters; where the function is defined is said by `domain`.",
        "f(x; alpha = 0) = x / alpha\n  require alpha > 0",
        "f(x; alpha = 1) = x / alpha\n  require alpha > 0",
    ),
    "E0119": Lesson(
        "A keyword argument names no parameter of what is called, is given twice, stands before a "
        "positional one, or goes to a function of the language, which takes none.",
        "f(x; scale = 1) = scale * x\ng(x) = f(x, scal = 2)",
        "f(x; scale = 1) = scale * x\ng(x) = f(x, scale = 2)",
    ),
    "E0125": Lesson(
        "An index is a whole number that the compiler knows, from 0 to one less than the vector's length, "
        "and a sum or product goes over a range of such numbers.",
        "f(x; learn a[3] = 1) = sum(k in 0..3: a[k] * x**k)",
        "f(x; learn a[3] = 1) = sum(k in 0..2: a[k] * x**k)",
    ),
    "E0130": Lesson(
        "Numbers are drawn in training, and a definition says what stands for them in evaluation; so "
        "`uniform` and `normal` stand in a `with` that says both. The bounds of a `uniform` are constants "
        "and parameters: what depends on the input is multiplied by a draw from 0 to 1.",
        "noisy(x) = x + normal(0, 0.1)",
        "noisy(x) = x + n\n  with n = normal(0, 0.1) in training, 0 in eval",
    ),
    "E0190": Lesson(
        "The language has this, and this version does not compile it: learnable parameters of several "
        "outputs, roundings in the middle beside them.",
        "both(x; learn beta = 1.0) = (sigmoid(beta * x), x)",
        "both(x; beta = 1.0) = (sigmoid(beta * x), x)",
    ),
}
