"""What pages and environment files say agrees with the code."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from pages import anchors, blocks, links

from fusionscope.measures.names import METRICS
from fusionscope.report.plot_table import PLOTS
from fusionscope.training.data_sets import DATA_SETS
from machinery.code_hashes import SCRIPTS, closure_hashes, module_files

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW, DEVELOPMENT = (PROJECT["optional-dependencies"][extra] for extra in ("workflow", "dev"))


def pins(requirements: list[str]) -> dict[str, str]:
    return dict(re.split(r" ?==", line) for line in requirements)


def locked() -> dict[str, str]:
    lines = (ROOT / "envs/requirements.lock").read_text().splitlines()
    return pins([line.split(" ;")[0] for line in lines if line and line[0] not in "# "])


def test_the_lock_holds_every_pin():
    lock = locked()
    for name, version in pins(WORKFLOW + DEVELOPMENT).items():
        assert lock[name] == version


def test_the_workflow_pins_versions_that_the_library_allows():
    from packaging.requirements import Requirement

    library = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["data"]]
    pinned = pins(WORKFLOW)
    for requirement in map(Requirement, library):
        assert pinned[requirement.name] in requirement.specifier, requirement


@pytest.mark.parametrize("name", ["compute", "tables"])
def test_conda_files_hold_the_same_pins_as_the_lock(name):
    environment = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    *conda, pip = environment["dependencies"]
    assert conda == ["python =3.11", "pip"]
    lock = locked()
    for package, version in pins(pip["pip"]).items():
        assert lock[package] == version


DOCKERFILE = (ROOT / "envs/Dockerfile").read_text()
APPTAINER = (ROOT / "envs/fusionscope.def").read_text()


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Keyword and arguments of each instruction; continued lines are joined, comments left out."""
    lines = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def sections(definition: str) -> dict[str, str]:
    """An Apptainer definition's header (under "") and sections by name, without comments."""
    text = re.sub(r"^ *#.*\n", "", definition, flags=re.MULTILINE)
    header, *named = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    return {"": header} | dict(zip(named[::2], named[1::2], strict=True))


def commands(script: str) -> list[str]:
    return [" ".join(command.split()) for command in re.split(r"&&|\n", script) if command.strip()]


def test_both_container_recipes_install_the_lock_on_the_python_of_the_conda_files():
    environment = yaml.safe_load((ROOT / "envs/compute.yaml").read_text())
    python = environment["dependencies"][0].removeprefix("python =")
    assert PROJECT["requires-python"] == f">={python}"
    docker, apptainer = instructions(DOCKERFILE), sections(APPTAINER)
    assert docker[0] == ("FROM", f"python:{python}-slim")
    assert apptainer[""].split() == ["Bootstrap:", "docker", "From:", f"python:{python}-slim"]
    lock = "/opt/fusionscope/requirements.lock"
    assert ("COPY", f"requirements.lock {lock}") in docker  # the context is envs/
    assert apptainer["files"].split() == ["envs/requirements.lock", lock]
    ran = [command for keyword, script in docker if keyword == "RUN" for command in commands(script)]
    assert ran == commands(apptainer["post"])
    assert ran[-1] == f"pip install --no-cache-dir --requirement {lock}"


def test_container_recipes_have_only_parts_that_docker_and_apptainer_know():
    assert {keyword for keyword, _ in instructions(DOCKERFILE)} == {
        "FROM",
        "RUN",
        "COPY",
        "ENV",
        "WORKDIR",
        "CMD",
    }
    assert set(sections(APPTAINER)) == {"", "files", "post", "environment", "runscript"}
    for name in ("post", "environment", "runscript"):
        subprocess.run(["sh", "-n", "-c", sections(APPTAINER)[name]], check=True)


def test_the_page_on_clusters_and_the_snakefile_name_the_images_that_the_recipes_make():
    page = (ROOT / "docs/clusters.md").read_text()
    for command in ("docker build -t fusionscope -f envs/Dockerfile envs", "docker run --rm"):
        assert command in DOCKERFILE
        assert command in page
    build = "apptainer build envs/fusionscope.sif envs/fusionscope.def"
    assert build in APPTAINER
    assert build in page
    assert 'container: os.path.relpath(ROOT / "envs/fusionscope.sif")' in (ROOT / "Snakefile").read_text()


PACKAGE_OF = {"curvlinops": "curvlinops-for-pytorch", "ot": "pot", "sklearn": "scikit-learn"}


def imported_packages(script: str) -> set[str]:
    """Our dependencies that a script's import closure names, and all plots and data sets for it."""
    packages = set()
    readers = [data_set.read for data_set in DATA_SETS.values()]
    entries = {"plot": [plot.draw for plot in PLOTS.values()], "prepare_data": readers}
    named = [script, *(entry.split(":")[0] for entry in entries.get(script, []))]
    for module in closure_hashes(named, [SCRIPTS], left_out=()):
        [(file, _)] = module_files([SCRIPTS], module)[-1:]
        names = re.findall(r"^ *(?:from|import) (\w+)", file.read_text(), re.MULTILINE)
        packages |= {PACKAGE_OF.get(name, name) for name in names}
    return packages & set(pins(WORKFLOW + DEVELOPMENT))


def test_conda_files_hold_all_that_the_scripts_import():
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    environments = re.findall(r'"\.\./envs/(\w+)\.yaml".*?"\.\./scripts/(\w+)\.py"', rules, re.DOTALL)
    assert len(environments) == len(re.findall(r"^rule ", rules, re.MULTILINE))
    for name, script in environments:
        environment = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
        assert imported_packages(script) <= set(pins(environment["dependencies"][-1]["pip"])), script


def test_pyproject_tells_what_each_dependency_is_for_and_the_readme_leads_there():
    text = (ROOT / "pyproject.toml").read_text()
    for name in pins(WORKFLOW):
        assert re.search(rf'"{name} ==[^"]+", +# \w+', text), name
    assert "[pyproject.toml](pyproject.toml)" in README


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]


def test_the_readme_is_read_in_one_go():
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize("page", ["README.md", "docs/metrics.md"])
def test_every_space_is_named_and_the_page_of_all_metrics_is_linked(page):
    """That page has every metric: tests/fusionscope/measures/test_names.py."""
    text = (ROOT / page).read_text()
    for space in {metric.space for metric in METRICS.values()} | {"correlation_space"}:
        assert f"`{space}`" in text
    assert "reference/metrics.md)" in text


def test_every_link_inside_the_repository_leads_somewhere():
    for page in PAGES:
        for file, heading in links(page.read_text()):
            target = page.parent / file if file else page
            assert target.exists(), (page, file)
            assert not heading or heading in anchors(target.read_text()), (page, file, heading)


def test_the_index_of_the_documentation_has_every_page():
    listed = {(ROOT / "docs" / file).resolve() for file, _ in links((ROOT / "docs/README.md").read_text())}
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - {
        ROOT / "docs/README.md"
    } <= listed


def test_the_page_on_running_says_how_long_each_experiment_takes():
    """Nothing is said of an experiment that is no more."""
    section = (ROOT / "docs/running.md").read_text().split("## How long")[1].split("\n## ")[0]
    told = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section, re.MULTILINE)
    experiments = yaml.safe_load((ROOT / "config.yaml").read_text())["experiments"]
    assert sorted(re.findall(r"`(\w+)`", " ".join(told))) == sorted(experiments)


def test_configurations_in_pages_are_yaml():
    for page in PAGES:
        for block in blocks(page.read_text()):
            if block.language == "yaml":
                assert yaml.safe_load(block.text), (page, block)
