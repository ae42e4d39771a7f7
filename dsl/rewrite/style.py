"""How a polynomial is to be spelled.

In: nothing (plain data). Out: `Style`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How a polynomial is spelled.

    `clamp`: |x| is held at `Speller.limit`, because an exponential that multiplies it is zero beyond.
    `switched`: generators that stand for their complements; `spare`: the exponential whose complement the
    ring's spare generator is. `scaled`: erfc generators that stand for erfcx. `soft`: an absolute error in an
    exponential does no harm, because a constant is added to it.
    """

    clamp: bool = False
    switched: frozenset[int] = frozenset()
    spare: int | None = None
    scaled: frozenset[int] = frozenset()
    soft: bool = False
