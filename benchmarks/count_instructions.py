# SPDX-License-Identifier: Apache-2.0
"""Instructions per multiply-accumulate of the C kernels on Cortex-M, counted exactly by a QEMU plugin.

Needs arm-none-eabi-gcc with newlib, qemu-system-arm and a host C compiler. Prints the Markdown table of benchmarks/plain_c_instructions.md:

    python benchmarks/count_instructions.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parent / "mpsearch" / "kernels"
CORES = {
    "cortex-m4": ("mps2-an386", ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]),
    "cortex-m7": ("mps2-an500", ["-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-d16"]),
}


@dataclass(frozen=True)
class Job:
    """One layer; `units` is what its cost is divided by."""

    macro: str
    title: str
    unit: str
    units: int
    widths: tuple[int, ...]


JOBS = (
    Job("CONV3X3", "conv 3x3, 16 -> 16, 32x32", "MAC", 32 * 32 * 16 * 16 * 9, (8, 4, 2)),
    Job("CONV1X1", "conv 1x1, 64 -> 64, 25x5", "MAC", 25 * 5 * 64 * 64, (8, 4, 2)),
    Job("DEPTHWISE", "depthwise 3x3, 64, 25x5", "MAC", 25 * 5 * 64 * 9, (8, 4, 2)),
    Job("DENSE", "dense 640 -> 128", "MAC", 640 * 128, (8, 4, 2)),
    Job("REQUANTIZE", "requantisation (bias to stored byte)", "output", 64 * 64, (8,)),
    Job("ADD", "add", "element", 16384, (8,)),
)


def build_plugin(folder: Path) -> Path:
    plugin = folder / "count_plugin.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(plugin), str(HERE / "qemu" / "count_plugin.c")], check=True)
    return plugin


def count(folder: Path, plugin: Path, core: str, level: str, job: Job, bits: int) -> tuple[int, int]:
    """Return the instructions and the estimated Cortex-M4 cycles of one run."""
    machine, flags = CORES[core]
    program, log = folder / "layer.elf", folder / "count.log"
    sources = [str(path) for path in sorted((KERNELS / "src").glob("*.c")) if path.name != "mps_requantize_array.c"]
    command = ["arm-none-eabi-gcc", "-std=c11", level, *flags, "-ffunction-sections", "-nostartfiles", f"-DLAYER_{job.macro}", f"-DBITS={bits}"]
    command += [f"-I{KERNELS / 'include'}", "-T", str(HERE / "qemu" / "cortex_m.ld"), "-Wl,--gc-sections", "-o", str(program)]
    subprocess.run([*command, str(HERE / "qemu" / "measure_layer.c"), *sources], check=True)
    emulator = ["qemu-system-arm", "-M", machine, "-nographic", "-monitor", "none", "-serial", "none"]
    emulator += ["-semihosting-config", "enable=on,target=native", "-plugin", str(plugin), "-d", "plugin", "-D", str(log), "-kernel", str(program)]
    subprocess.run(emulator, check=True, timeout=120)
    words = next(line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("counted")).split()
    return int(words[1]), int(words[2])


def main() -> int:
    missing = [tool for tool in ("arm-none-eabi-gcc", "qemu-system-arm", "cc") if shutil.which(tool) is None]
    if missing:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    print("| layer | weight bits | per | M4 -O2 | M4 -O3 | M7 -O2 | M7 -O3 | M4 -O2 cycles (est.) | M4 -O3 cycles (est.) |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = build_plugin(folder)
        for job in JOBS:
            for bits in job.widths:
                runs = {(core, level): count(folder, plugin, core, level, job, bits) for core in CORES for level in ("-O2", "-O3")}
                cells = [f"{instructions / job.units:.2f}" for instructions, _ in runs.values()]
                cells += [f"{runs['cortex-m4', level][1] / job.units:.2f}" for level in ("-O2", "-O3")]
                print(f"| {job.title} | {bits if len(job.widths) > 1 else '-'} | {job.unit} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
