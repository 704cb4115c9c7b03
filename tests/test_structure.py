"""The house of the design: rooms, no import arrow back up, notebooks of a size that is read in one sitting."""

import ast
import json
import subprocess
import sys

from nsynth_helpers.settings import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "nsynth_helpers"
# From the ground up; a module may import from its own room and from those before it.
FLOORS = (
    ("settings",),
    ("data.metadata",),
    ("models",),
    ("data",),
    ("training",),
    ("analysis",),
    ("claims",),
    ("plots",),
    ("view",),
    ("widgets",),
    ("report",),
    ("cli",),
)
# Plots read tables and arrays.
FORBIDDEN = {"plots": ("data.cache", "data.dataset", "training", "claims"), "models": ("data.dataset", "data.cache")}
MOST_CELLS = 50


def floor_of(module: str) -> int:
    """The floor of a module, named from inside the package; the longest name that fits decides."""
    fitting = [
        (len(name), floor)
        for floor, names in enumerate(FLOORS)
        for name in names
        if f"{module}.".startswith(f"{name}.")
    ]
    return max(fitting)[1]


def imports_of(path) -> set[str]:
    """The modules of the package that a file imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nsynth_helpers":
            room = node.module.partition(".")[2]
            names = [f"{room}.{alias.name}".strip(".") for alias in node.names]
            files = [PACKAGE / (name.replace(".", "/") + ".py") for name in names]
            folders = [PACKAGE / name.replace(".", "/") for name in names]
            modules = [
                name if file.is_file() or folder.is_dir() else room
                for name, file, folder in zip(names, files, folders, strict=True)
            ]
            found |= {module for module in modules if module}
    return found


def test_no_import_goes_up_or_round():
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if module in ("__init__", "__main__"):
            continue
        for imported in imports_of(path):
            assert floor_of(imported) <= floor_of(module), f"{module} imports {imported}"
            forbidden = FORBIDDEN.get(module.split(".")[0], ())
            assert not [name for name in forbidden if f"{imported}.".startswith(f"{name}.")], f"{module}: {imported}"


def test_the_door_the_help_and_the_view_load_nothing_that_takes_seconds():
    modules = "nsynth_helpers, nsynth_helpers.cli, nsynth_helpers.view"
    script = f"import sys, {modules}; assert not {{'torch', 'nbformat'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT_ROOT, check=True)


def test_the_door_opens_to_all_it_names():
    import nsynth_helpers as ns

    assert [name for name in ns.__all__ if getattr(ns, name, None) is None] == []
    assert set(ns.__all__) <= set(dir(ns))


def test_a_notebook_is_read_in_one_sitting():
    for path in (PROJECT_ROOT / "notebooks").glob("*.ipynb"):
        assert len(json.loads(path.read_text())["cells"]) <= MOST_CELLS, path.name
