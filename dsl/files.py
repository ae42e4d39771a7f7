"""Files, written whole or not at all.

In: a path and a text. Out: the file, with no moment at which another process sees half of it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex


def read_text(path: Path) -> str | None:
    """The text of a file; None where there is no such file or it is not text.

    Line ends come as newlines: a checkout that turned them into CRLF holds the same text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, UnicodeDecodeError):
        return None


def write_atomic(path: Path, text: str | bytes) -> None:
    """Put a text (or bytes) where a file is, through a temporary file of its own beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):  # A file that is rewritten keeps its permissions.
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
