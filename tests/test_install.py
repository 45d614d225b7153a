"""`pip install .` gives the library alone, with which docs/notebook.md runs as it is written."""

import email
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pages import blocks

ROOT = Path(__file__).parents[1]
PACKAGED = ("pyproject.toml", "README.md", "LICENSE")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: building leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("package")
    for name in PACKAGED:
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=ignored)
    command = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels", "."]
    subprocess.run(command, cwd=folder, check=True)
    (built,) = (folder / "wheels").iterdir()
    return built


def notebook() -> str:
    """The code of docs/notebook.md, block after block."""
    found = blocks((ROOT / "docs/notebook.md").read_text())
    return "\n".join(block.text for block in found if block.language == "python")


def test_the_wheel_holds_every_module_of_the_library_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {name for name in names if ".dist-info/" not in name}
    library = (ROOT / "scripts/fusionscope").rglob("*")
    expected = {path for path in library if path.suffix in (".py", ".jinja", ".css")}
    assert packaged == {str(path.relative_to(ROOT / "scripts")) for path in expected}


def test_the_wheel_needs_ranges_and_the_workflow_s_pins_are_an_extra(wheel):
    archive = zipfile.ZipFile(wheel)
    (path,) = (name for name in archive.namelist() if name.endswith("METADATA"))
    needed = email.message_from_bytes(archive.read(path)).get_all("Requires-Dist")
    assert needed is not None
    library = [line for line in needed if "extra ==" not in line]
    assert any(line.startswith("torch") for line in library)
    assert not any("==" in line or line.startswith("snakemake") for line in library)
    assert any(line.startswith("snakemake==") and 'extra == "workflow"' in line for line in needed)


def test_the_notebook_is_about_forty_lines():
    assert 30 <= len([line for line in notebook().splitlines() if line.strip()]) <= 50


@pytest.mark.slow
def test_the_notebook_runs_with_the_installed_library(wheel, tmp_path):
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True)
    where = "import fusionscope; print(fusionscope.__file__)\n"
    ran = subprocess.run(
        [sys.executable, "-c", where + notebook()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    lines = ran.stdout.splitlines()
    assert lines[0] == str(tmp_path / "site/fusionscope/__init__.py")
    naive, repaired = (
        float(line.removeprefix(f"{name}, accuracy: "))
        for name in ("naive", "aligned and repaired")
        for line in lines
        if line.startswith(name)
    )
    assert naive < 0.5 < repaired
    assert "100% of the hidden neurons may move" in lines
    assert "classifier keeps 10 neurons in place: an output of the network" in lines
    assert "fuse.align_by: 'activation' is not known; did you mean 'activations'?" in lines
    assert lines[-1].startswith("child path norm: Measurement(value=")
