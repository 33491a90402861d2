# SPDX-License-Identifier: Apache-2.0
"""Programs of a few lines on every board: our start-up, the exit status, faults, and the tools that each needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpsearch.errors import ExportError
from mpsearch.export.cores import CORES, check_tools, find_core
from mpsearch.export.counting import build_plugin
from mpsearch.export.qemu import build_program, execute
from tests.target.emulated import on_cores

PACKAGES = {
    "cortex-m0": "gcc-arm-none-eabi qemu-system-arm libnewlib-arm-none-eabi",
    "cortex-m55": "gcc-arm-none-eabi qemu-system-arm libnewlib-arm-none-eabi",
    "rv32": "gcc-riscv64-unknown-elf qemu-system-misc picolibc-riscv64-unknown-elf",
}


def run(folder: Path, core: str, body: str, *flags: str, compiler: str = "gcc") -> tuple[int, str]:
    source = folder / "program.c"
    source.write_text(f"#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n{body}\n", encoding="utf-8")
    program = build_program(folder, CORES[core], [source], ["-O1", *flags], compiler)
    return execute(folder, CORES[core], program, build_plugin(folder))[:2]


@pytest.mark.parametrize("core", on_cores())
def test_memory_is_set_up_and_the_exit_status_arrives(core: str, tmp_path: Path) -> None:
    body = """static int zero[3], set[3] = {7, 8, 9};
    int main(void) { printf("%d %d %lu\\n", zero[1], set[2], 4000000000ul); return 42; }"""
    assert run(tmp_path, core, body) == (42, "0 9 4000000000\n")


@pytest.mark.parametrize("core", on_cores())
def test_a_fault_stops_the_program_and_says_so(core: str, tmp_path: Path) -> None:
    body = "int main(void) { __asm__ volatile(UNDEFINED); return 0; }"
    undefined = '-DUNDEFINED="unimp"' if core == "rv32" else '-DUNDEFINED="udf #0"'
    assert run(tmp_path, core, body, undefined) == (99, "the processor took a fault\n")


UNALIGNED = """static volatile uint32_t words[2];
static volatile uintptr_t address; /* volatile, or GCC sees that it is odd and reads byte by byte */
int main(void) { address = (uintptr_t)words + 1; return (int)*(volatile uint32_t *)address; }"""


@pytest.mark.parametrize("core", on_cores(["cortex-m0"]))
def test_code_for_a_cortex_m0_faults_on_an_unaligned_word(core: str, tmp_path: Path) -> None:
    assert run(tmp_path, core, UNALIGNED) == (99, "the processor took a fault\n")


@pytest.mark.parametrize("core", on_cores(["cortex-m3", "cortex-m4", "cortex-m55"]))
def test_code_for_a_larger_core_does_not(core: str, tmp_path: Path) -> None:
    assert run(tmp_path, core, UNALIGNED) == (0, "")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("core", on_cores(["cortex-m55"], "clang"))
def test_vector_instructions_run(core: str, compiler: str, tmp_path: Path) -> None:
    body = """#include <arm_mve.h>
    static const int8_t a[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, -16};
    int main(void) { const int8x16_t values = vldrbq_s8(a); return (int)vmladavq_s8(values, values) - 1400; }"""
    assert run(tmp_path, core, body, compiler=compiler) == (sum(value**2 for value in range(1, 17)) - 1400, "")


@pytest.mark.parametrize("core", on_cores(["cortex-m55"]))
def test_too_much_ram_is_refused_with_the_sizes(core: str, tmp_path: Path) -> None:
    body = "static volatile char large[4 << 20]; int main(void) { return large[5]; }"
    with pytest.raises(ExportError, match=r"does not fit the board mps3-an547: it needs 42\d{5} bytes of RAM, where the board has 4194304"):
        run(tmp_path, core, body)


def test_an_unknown_target_is_answered_with_the_nearest() -> None:
    with pytest.raises(ExportError, match=r"no emulator for target 'cortex-m5'.*did you mean cortex-m"):
        find_core("cortex-m5")


@pytest.mark.parametrize(("core", "packages"), PACKAGES.items())
def test_missing_tools_are_named_with_the_packages_of_that_target(core: str, packages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = CORES[core].toolchain
    with monkeypatch.context() as patch:
        patch.setattr("shutil.which", lambda name: None if name in (tools.gcc, tools.emulator) else f"/usr/bin/{name}")
        with pytest.raises(ExportError) as caught:
            check_tools(CORES[core], kept="Kept.")
    assert caught.value.message == f"Not in the PATH: {tools.gcc}, {tools.emulator}. Kept."
    assert caught.value.hint == f"on Debian: apt-get install {packages}"


@pytest.mark.parametrize("core", on_cores())
def test_only_what_is_missing_is_named(core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    real, tools = shutil.which, CORES[core].toolchain
    monkeypatch.setattr("shutil.which", lambda name: None if name == tools.emulator or name.startswith("clang") else real(name))
    with pytest.raises(ExportError) as caught:
        check_tools(CORES[core])
    assert caught.value.hint == f"on Debian: apt-get install {tools.emulator_package}"
    with pytest.raises(ExportError, match=rf"clang-19 or clang\. Hint: on Debian: apt-get install {tools.emulator_package} clang$"):
        check_tools(CORES[core], "clang")


@pytest.mark.parametrize("core", on_cores(["rv32"]))
def test_a_missing_c_library_is_named(core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpsearch.export.cores.library_headers", lambda _: None)
    with pytest.raises(ExportError, match=r"finds no C library .*apt-get install picolibc-riscv64-unknown-elf$"):
        check_tools(CORES[core])
