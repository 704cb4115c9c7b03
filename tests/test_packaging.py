"""What a fresh clone installs: one list of dependencies, exact versions, and nothing of one machine."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from nsynth_helpers.settings import PROJECT_ROOT

PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
TEXTS = {".py", ".md", ".toml", ".yml", ".cff", ".txt", ".cfg", ".ipynb", ".json", ""}


def normal(requirement: str) -> str:
    """The name of a requirement, spelt as pip compares names."""
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


def committed():
    """The text files that git tracks, or will."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("this is no git checkout")
    paths = [PROJECT_ROOT / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in TEXTS and path.is_file()]


def test_every_dependency_has_an_exact_version():
    constraints = (PROJECT_ROOT / "constraints.txt").read_text().splitlines()
    exact = {normal(line): line for line in constraints if line and not line.startswith("#")}
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in exact.values())
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    assert {normal(requirement) for requirement in wanted} <= set(exact)
    assert exact["torch"] == "torch==2.13.0"


def test_every_import_of_the_package_is_declared():
    trees = [ast.parse(path.read_text()) for path in (PROJECT_ROOT / "nsynth_helpers").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    others = {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"nsynth_helpers"}
    distributions = packages_distributions()
    declared = {normal(requirement) for requirement in PROJECT["dependencies"]}
    assert len(others) > 20
    assert not [name for name in others if not declared & {normal(one) for one in distributions[name]}]


def test_environment_yml_installs_the_project_with_the_same_python():
    lines = [line.strip() for line in (PROJECT_ROOT / "environment.yml").read_text().splitlines()]
    assert "- -e .[test]" in lines
    assert "- --constraint constraints.txt" in lines
    python = next(line for line in lines if line.startswith("- python="))
    assert PROJECT["requires-python"] == f">={python.removeprefix('- python=')}"
    named = {normal(line[2:]) for line in lines if line.startswith("- ") and not line.startswith(("- -", "- pip:"))}
    assert named == {"python", "pip", "conda-forge"}


def test_lab_opens_the_first_notebook_also_as_root():
    command = subprocess.run(["make", "-n", "lab"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout
    opened = command.split("default_url=/lab/tree/")[1].split()[0]
    assert opened.startswith("notebooks/01_") and (PROJECT_ROOT / opened).is_file()
    assert ("--allow-root" in command) == (os.getuid() == 0)


def test_no_file_names_a_registry_or_a_path_of_a_machine():
    # Put together from words, so that this file, too, bears none of what it looks for.
    options = ["-".join(words) for words in (("index", "url"), ("find", "links"))]
    homes = ["/".join(["", *folders]) for folders in (("root", ""), ("home", r"\w+", ""))]
    checkouts = "/".join(["", "work", "(?:main|shared|scratch)"])
    pages = "/".join(["simple", "[a-z]"])
    pattern = re.compile("|".join([*options, pages, *homes, checkouts]), re.IGNORECASE)
    found = [path.name for path in committed() if pattern.search(path.read_text())]
    assert not found


def test_committed_notebooks_ran_in_order_on_the_mini_subset_without_error():
    for path in sorted((PROJECT_ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text())
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), path.name
        outputs = [output for cell in cells for output in cell["outputs"]]
        assert not [output for output in outputs if output["output_type"] == "error"], path.name
        assert "nsynth-mini" in json.dumps(cells[1]["outputs"]), f"{path.name} does not show its data"
        assert path.stat().st_size < 6_000_000, path.name


def test_cells_are_short():
    for path in sorted((PROJECT_ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                lines = [line for line in "".join(cell["source"]).splitlines() if line.strip()]
                assert len(lines) <= 15, f"{path.name}: {lines[0]}"


def test_the_readme_names_every_variable():
    from dataclasses import fields

    from nsynth_helpers.settings import Settings

    readme = (PROJECT_ROOT / "README.md").read_text()
    assert [field.name for field in fields(Settings) if f"NSYNTH_{field.name.upper()}" not in readme] == []
