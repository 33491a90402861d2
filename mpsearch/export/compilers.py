# SPDX-License-Identifier: Apache-2.0
"""The host's C compiler, and how a failed compilation is told."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mpsearch.errors import ExportError


def host_compiler(chosen: str | None = None) -> list[str] | None:
    """Return the command of the host's C compiler: the chosen one, else $CC, else the first of cc, gcc and clang; None if it is not there."""
    wanted = [chosen] if chosen else shlex.split(os.environ.get("CC", ""))
    return next((candidate for candidate in ([wanted] if wanted else [["cc"], ["gcc"], ["clang"]]) if shutil.which(candidate[0])), None)


def find_compiler(folder: Path, chosen: str | None = None) -> list[str]:
    """Return the command of the host's C compiler, as `host_compiler` looks for it.

    Args:
        folder: The bundle that is kept, for the message.
        chosen: "gcc" or "clang"; None for $CC or the machine's own.

    Raises:
        ExportError: There is none.
    """
    command = host_compiler(chosen)
    if command is not None:
        return command
    variable = shlex.split(os.environ.get("CC", ""))
    looked = chosen or (f"$CC ({variable[0]})" if variable else "cc, gcc and clang")
    raise ExportError(
        f"No C compiler: looked for {looked} in the PATH. The bundle '{folder}' is complete and was kept.",
        f"install {'gcc or clang' if chosen is None else chosen} (on Debian: apt-get install {chosen or 'gcc'} libc6-dev), "
        "or set CC, and run it again.",
    )


def run_compiler(command: Sequence[str], what: str, hint: str = "") -> None:
    """Run a compiler.

    Args:
        command: The compiler and its arguments.
        what: What is compiled, for the message.
        hint: The next step if it fails.

    Raises:
        ExportError: It cannot be started, or fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ExportError(f"{what} cannot be compiled: {command[0]} cannot be started: {error}.", hint) from error
    if done.returncode != 0:
        raise ExportError(f"{what} does not compile with {command[0]}:\n{done.stderr[-2000:]}", hint)


def tool_version(tool: str) -> str:
    """Return the first line of what a program says about its version; its name alone if it says nothing."""
    try:
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return tool
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), tool)
