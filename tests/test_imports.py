"""Who may know whom (DESIGN §1), read from the imports and the names in the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("api", "domain", "notifications")

EDGE: Final = {"strawberry", "starlette", "graphql", "uvicorn", "jwt", "firebase_admin"}
FORBIDDEN: Final = {
    "domain": {"api", "notifications", *EDGE},
    "notifications": {"api"},
    "api": {"pymongo", "bson"},
}
IN_ONE_FILE: Final = ("firebase_admin", "stripe")
OUT_OF_THE_EDGE: Final = ("jwt",)
ENVIRONMENT: Final = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def files(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def imported(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, wherever in the file, relative imports made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parent.parts
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def importers(library: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in files(*PACKAGES)
        for _, name in imported(parsed(path), path)
        if top(name) == library
    }


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_nothing_that_it_must_not_know(package: str) -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files(package)
        for line, name in imported(parsed(path), path)
        if top(name) in FORBIDDEN[package]
    ]

    assert files(package), f"{package} is not where it was"
    assert broken == []


@pytest.mark.parametrize("library", IN_ONE_FILE)
def test_a_library_of_an_outside_service_is_imported_in_one_file_at_most(library: str) -> None:
    assert len(importers(library)) <= 1, importers(library)


@pytest.mark.parametrize("library", OUT_OF_THE_EDGE)
def test_tokens_are_made_and_read_at_the_edge_only(library: str) -> None:
    assert all(path.startswith("api/") for path in importers(library)), importers(library)


def test_the_environment_is_read_in_the_settings_only() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in files(*PACKAGES)
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os")
        and node.attr in ENVIRONMENT
    } | {
        str(path.relative_to(ROOT))
        for path in files(*PACKAGES)
        for _, name in imported(parsed(path), path)
        if name in {f"os.{each}" for each in ENVIRONMENT}
    }

    assert readers == {"domain/settings.py"}


def test_the_command_starts_without_what_only_some_of_it_needs() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, api.command.cli; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert "typer" in loaded
    assert {*EDGE, "pymongo", "pydantic", "cel", "aiohttp", "httpx", "babel", "stripe"} & {*loaded} == set()


def test_no_module_is_named_after_nothing() -> None:
    shapeless = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}

    assert [path for path in files(*PACKAGES) if path.stem in shapeless] == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import api.edge.app", ["api.edge.app"]),
        ("from . import lot", ["domain.ledger.lot"]),
        ("from ..store import clock", ["domain.store.clock"]),
        ("def late():\n    from jwt import decode", ["jwt.decode"]),
    ],
)
def test_every_way_to_import_is_seen(source: str, names: list[str]) -> None:
    path = ROOT / "domain" / "ledger" / "entry.py"

    assert [name for _, name in imported(ast.parse(source), path)] == names
