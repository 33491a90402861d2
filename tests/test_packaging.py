# SPDX-License-Identifier: Apache-2.0
"""The package imports light, and the wheel holds everything that is looked up by name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import util
from pathlib import Path
from typing import Any

import pytest

import mpsearch
from mpsearch.cli import main
from mpsearch.quant.native import LIBRARY

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "ray", "mlflow", "sklearn", "pulp", "optuna", "matplotlib")


def run(*arguments: str, folder: Path = ROOT, python_path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": python_path}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def heavy_modules_after(code: str) -> str:
    done = run("-c", f"import sys\n{code}\nprint('LOADED', *sorted(set(sys.modules) & set({HEAVY!r})))")
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("LOADED")[2].strip()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert heavy_modules_after("import mpsearch") == ""


@pytest.mark.skipif(util.find_spec("mpsearch.cli") is None, reason="the command line is not there")
def test_asking_for_help_loads_nothing_heavy() -> None:
    code = "import mpsearch.cli\ntry:\n    mpsearch.cli.main(['--help'])\nexcept SystemExit as done:\n    assert not done.code"
    assert heavy_modules_after(code) == ""


def test_every_public_name_resolves_and_is_listed() -> None:
    assert set(mpsearch.__all__) <= set(dir(mpsearch))
    assert all(getattr(mpsearch, name) is not None for name in mpsearch.__all__)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mpsearch' has no attribute 'Worklode'"):
        mpsearch.Worklode  # noqa: B018 - the access is what is tested


def test_every_dependency_has_an_exact_version_in_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    names = {re.split(r"[\[<>=]", text)[0].lower().replace("_", "-") for text in wanted} - {"mpsearch"}
    pins = re.findall(r"^([\w.-]+)==([\w.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert names <= {name for name, _ in pins}


def test_the_example_of_the_readme_is_a_workload(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(# my_network\.py.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "my_network.py").write_text(example)
    assert mpsearch.load_workload(f"{tmp_path}/my_network.py:make_workload").name == "my_network"


def test_the_example_of_a_device_file_loads_and_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```yaml\n(name: my-core.*?)```", (ROOT / "docs" / "hardware-models.md").read_text(), re.DOTALL)
    assert len(example.splitlines()) <= 25
    (tmp_path / "my-core.yaml").write_text(example)
    assert main(["cost", f"{ROOT}/tests/tiny_workload.py:tiny", "--target", str(tmp_path / "my-core.yaml"), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["target"] == "my-core"


@pytest.mark.skipif(not LIBRARY.is_file(), reason="NO NATIVE LIBRARY: build the package with a C compiler")
def test_the_packed_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(import torch\n.*?mpsearch\.apply.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["output"].shape == (32, 10)
    assert type(names["packed"][0]).__name__ == "PackedLinear"
    integers = 512 * 1024 * 4 // 8 + 1024 * 10
    assert integers < (tmp_path / "packed.pt").stat().st_size < integers + 30_000  # a scale for every 128 weights, biases, the archive's own


def test_the_changelog_has_a_place_for_what_comes_next() -> None:
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text()


def test_every_python_and_c_file_names_its_licence() -> None:
    sources = [path for folder in ("mpsearch", "tests") for suffix in ("*.py", "*.c", "*.h") for path in (ROOT / folder).rglob(suffix)]
    assert len(sources) > 20
    assert [str(path) for path in sources if "SPDX-License-Identifier: Apache-2.0" not in path.read_text().partition("\n\n")[0]] == []


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if util.find_spec("scikit_build_core") is None:
        pytest.skip("NO BUILD BACKEND: pip install scikit-build-core cmake ninja")
    folder = tmp_path_factory.mktemp("wheel")
    build = f"--config-settings=build-dir={folder / 'build'}"
    done = run("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", build, "--wheel-dir", str(folder), str(ROOT))
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.slow
def test_the_wheel_serves_every_python_3_of_a_platform(wheel: Path) -> None:
    assert re.fullmatch(r"mpsearch-[\d.]+-py3-none-(?!any)\w+\.whl", wheel.name)


@pytest.mark.slow
def test_the_wheel_holds_modules_data_and_kernels(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "mpsearch").rglob("*.py")}
    wanted |= {str(path.relative_to(ROOT)) for suffix in ("*.c", "*.h", "*.css", "*.js") for path in (ROOT / "mpsearch").rglob(suffix)}
    wanted |= {f"mpsearch/{path.relative_to(ROOT)}" for folder in ("search_spaces", "hw_models") for path in (ROOT / folder).glob("*.yaml")}
    assert wanted - held == set()
    assert "mpsearch/_mps_native.so" in held
    assert not [name for name in held if name.startswith(("tests/", "docs/", "experiments/"))]


@pytest.mark.slow
def test_the_installed_wheel_finds_its_files_by_name_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    code = (
        "import mpsearch\n"
        "from mpsearch.catalog import list_names, load_search_space\n"
        f"assert mpsearch.__file__.startswith({str(target)!r}), mpsearch.__file__\n"
        "assert list_names('search_spaces') and list_names('hw_models')\n"
        "print(load_search_space(list_names('search_spaces')[0]))\n"
    )
    # -S leaves out the hook of an editable install, which would find the checkout first.
    done = run("-S", "-c", code, folder=tmp_path, python_path=os.pathsep.join((str(target), sysconfig.get_path("purelib"))))
    assert done.returncode == 0, done.stderr
