"""The structure of the house, held by tests: floors, reading closure, light imports, no circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "heedlm"
# Bottom to top; a module may import its own floor's room and everything below.
FLOORS = [
    {
        "messages",
        "config",
        "keys",
        "recipe_file",
        "pretrain_config",
        "runs",
        "errors",
        "machine",
        "memory_left",
        "launch",
        "failures",
    },
    {"templates"},
    {"model"},
    {"tokens"},
    {"data"},
    {"train", "generate"},
    {"eval"},
    {"synth"},
    {"instructions"},
    {"serve", "atlas", "exports"},
    {"judge_journal"},
    {"judging"},
    {"judge_after"},
    {"corpora", "wiring", "evaluating"},
    {"api", "usage", "screen", "interrupts", "prompt_pages"},
    {"baking"},
    {"cli_chat", "cli_data", "cli_eval", "cli_export", "cli_judge", "cli_serve"},
    {"cli_templates"},
    {"cli_prompt_bake", "cli_prompt_optimize", "cli_prompt_test"},
    {"cli_prompt"},
    {"cli_suites"},
    {"cli_synth"},
    {"cli"},
    {"__main__", "__init__"},
]
CLOSURE_LIMIT = 4000


def modules() -> dict[str, Path]:
    return {
        ".".join(("heedlm", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in sorted(SOURCE.rglob("*.py"))
    }


def imports_of(path: Path, at_run_time_only: bool = False) -> set[str]:
    """Our own modules that a file names in an import, wherever it stands; without type-only ones if asked."""
    tree = ast.parse(path.read_text("utf8"))
    typing_only: set[ast.AST] = set()
    if at_run_time_only:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
                typing_only.update(ast.walk(node))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("heedlm"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("heedlm"):
            assert node.module is not None
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module)
    known = modules()
    return {name for name in found if name in known}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def test_imports_run_down_the_floors() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, path in modules().items()
        for other in imports_of(path)
        if other != "heedlm"
        and (
            floor(other) > floor(name)
            or (floor(other) == floor(name) and room(other) != room(name) and floor(name) > 0)
        )
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        name: {o for o in imports_of(path, at_run_time_only=True) if o != name} for name, path in modules().items()
    }
    packages = {name for name in graph if modules()[name].name == "__init__.py"}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for other in sorted(graph[name] - packages):
            walk(other, (*trail, name))
        done.add(name)

    for name in sorted(graph):
        walk(name, ())


def closure(module: str) -> set[str]:
    known = modules()
    todo, seen = [module], set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name == "heedlm":  # the front door names every verb, and opens a room only when one is called
            continue
        todo += imports_of(known[name])
        parent = name.rpartition(".")[0]
        todo += [parent] if parent in known else []
    return seen


def test_one_training_step_can_be_read_in_an_afternoon() -> None:
    known = modules()
    sizes = {name: len(known[name].read_text("utf8").splitlines()) for name in closure("heedlm.train.sft")}
    total = sum(sizes.values())
    assert total < CLOSURE_LIMIT, f"{total} lines: " + ", ".join(
        f"{n} {s}" for n, s in sorted(sizes.items(), key=lambda x: -x[1])
    )


def test_files_stay_short() -> None:
    long = {name: n for name, path in modules().items() if (n := len(path.read_text("utf8").splitlines())) > 400}
    assert not long


@pytest.mark.parametrize(
    "code",
    [
        "import heedlm",
        "import heedlm.cli",
        "import heedlm.generate.remote",
        "import heedlm.serve.terminal",
        "import heedlm.eval.report",
    ],
)
def test_importing_stays_light(code: str) -> None:
    check = (
        f"{code}; import sys; print([m for m in ('torch', 'transformers', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_command_line_prints() -> None:
    for name, path in modules().items():
        calls = [
            n
            for n in ast.walk(ast.parse(path.read_text("utf8")))
            if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"
        ]
        assert not calls, name


def test_the_loop_and_the_shift_exist_once() -> None:
    text = {name: path.read_text("utf8") for name, path in modules().items()}
    assert [name for name, body in text.items() if ".backward()" in body] == ["heedlm.train.loop"]
    assert [name for name, body in text.items() if "optimizer.step()" in body] == ["heedlm.train.loop"]
    assert not [name for name, body in text.items() if "-100" in body and name != "heedlm.messages"]
