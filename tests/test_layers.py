"""An import may only point down: the layers stand in pyproject.toml."""

import subprocess
import sys
from pathlib import Path


def test_layers() -> None:
    root = Path(__file__).parent.parent
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
