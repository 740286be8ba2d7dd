"""Which way imports may point, who may know what: a map that cannot go stale."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[1] / "service"

BASE = {"errors", "packed", "settings", "metrics"}

MAY_IMPORT: dict[str, set[str]] = {
    # what everything rests on
    "errors": set(),
    "packed": set(),
    "settings": set(),
    "metrics": set(),
    # pure parts: no network, no product around them
    "wire": {"errors"},
    "audio": {"errors"},
    "storage": {"errors"},
    "schemas": {"errors"},
    "catalogue": {"errors", "packed"},
    # what the service does
    "accounts": {"catalogue", *BASE},
    "uploads": {"audio", "catalogue", "storage", *BASE},
    "jobs": {"uploads", "audio", "catalogue", "storage", *BASE},
    "upkeep": {"catalogue", "storage", *BASE},
    # what answers
    "web": {"accounts", "keys", *BASE},
    "views": {"web", "wire", "schemas", "uploads", "audio", "accounts", "catalogue", "storage", "keys", *BASE},
    "routes": {"views", "web", "keys", *BASE},
    # what holds it together; keys only name types
    "keys": {"accounts", "catalogue", "storage", "uploads", "jobs", "views", "web", *BASE},
    "log": {"web", "keys", *BASE},
    "app": {
        "routes",
        "views",
        "web",
        "accounts",
        "catalogue",
        "storage",
        "uploads",
        "jobs",
        "audio",
        "keys",
        "log",
        *BASE,
    },
    "server": {"app", "keys", "log", "web", *BASE},
    "cli": {
        "app",
        "server",
        "client",
        "accounts",
        "catalogue",
        "schemas",
        "storage",
        "uploads",
        "upkeep",
        "jobs",
        "keys",
        "log",
        *BASE,
    },
    # a client of any service of ours, over the network: it knows the API and nothing else
    "client": set(),
    "__main__": {"cli"},
    "__init__": set(),
}
"""Package or module of `service` -> the others it may import, at the top of a file or within a function."""

KNOWS_AIOHTTP = {"app", "cli", "client", "keys", "log", "routes", "server", "views", "web"}

FILES = sorted(SERVICE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The package or module right below `service` that a file belongs to."""
    return path.relative_to(SERVICE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The dotted names a file imports, inside of functions and for types, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def named(path: Path) -> str:
    return path.relative_to(SERVICE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_point_the_way_of_the_map(path):
    part = part_of(path)
    inner = {name.split(".")[1] for name in imported(path) if name.startswith("service.")} - {part}
    assert inner <= MAY_IMPORT[part]


def test_the_map_has_no_circle_apart_from_the_keys():
    """`keys` names types of what uses it, and imports them for the type checker only (the next test)."""
    left = {part: set(others) - {"keys"} for part, others in MAY_IMPORT.items() if part != "keys"}
    while left:
        free = {part for part, others in left.items() if not others & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        for part in free:
            del left[part]


def test_keys_import_parts_of_the_service_for_the_type_checker_only():
    tree = ast.parse((SERVICE / "keys.py").read_text())
    at_run_time = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in at_run_time if (node.module or "").startswith("service")]


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_the_outer_layers_know_aiohttp(path):
    roots = {name.split(".")[0] for name in imported(path)}
    if part_of(path) not in KNOWS_AIOHTTP:
        assert "aiohttp" not in roots


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_settings_read_the_environment(path):
    if part_of(path) == "settings":
        return
    tree = ast.parse(path.read_text())
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not read & {"environ", "getenv", "environb"}
    assert "environs" not in {name.split(".")[0] for name in imported(path)}


SQL = re.compile(
    r"^\s*(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE|PRAGMA\s)", re.DOTALL
)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_the_catalogue_contains_sql(path):
    if part_of(path) == "catalogue":
        return
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    assert [text for text in texts if isinstance(text, str) and SQL.match(text)] == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_one_place_knows_the_status_of_an_error(path):
    if part_of(path) in ("web", "views", "app", "server", "log"):
        return
    assert "http" not in {name.split(".")[0] for name in imported(path)}


def test_every_part_of_the_service_is_on_the_map():
    assert {part_of(path) for path in FILES} == set(MAY_IMPORT) - {
        part for part in MAY_IMPORT if not (SERVICE / part).exists() and not (SERVICE / f"{part}.py").exists()
    }


@pytest.mark.parametrize("path", [path for path in FILES if part_of(path) in ("views", "web")], ids=named)
def test_a_body_is_read_in_three_files_only(path):
    """A middleware or helper that reads a body turns a streamed upload into nothing, without an error."""
    if path.name in ("body.py", "multipart.py", "payload.py", "proxy.py"):
        return
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_request(node.func.value)
    }
    assert not calls & {"read", "text", "json", "multipart"}


def _is_request(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "request") or (
        isinstance(node, ast.Attribute) and node.attr == "request"
    )
