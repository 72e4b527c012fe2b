"""What the pages show exists: links, commands, settings, rows, files, tables; generated pages are current.

A block that shows a mistake stands behind `<!-- wrong on purpose -->`, and must be one.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import typer

import heedlm
from heedlm import cli
from heedlm.config import Recipe
from heedlm.errors import HeedError, Problem
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import load_recipe
from heedlm.runs import Run

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WRONG = "<!-- wrong on purpose -->"
SECTIONS = {*Recipe.model_fields, *PretrainRecipe.model_fields} - {"seed"}
FILES = {"py", "md", "json", "jsonl", "yaml", "npy", "jinja", "html", "safetensors", "tsv", "txt", "css", "js"}
GENERATED = {"configuration.md": "make_configuration", "scaling.md": "make_scaling"}
COMMANDS: Any = typer.main.get_command(cli.app)
USAGE: Any = typer.BadParameter.__mro__[1]  # click's UsageError, which typer does not name


class Block(NamedTuple):
    """A fenced block of a page. line: of its first line.   wrong: shown as a mistake."""

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]
    wrong: bool

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    language, start, wrong = "", 0, False
    held: list[str] = []
    before = ""
    for number, line in enumerate(page.read_text("utf8").split("\n"), start=1):
        if line.startswith("```"):
            if start:
                yield Block(page, start, language, tuple(held), wrong)
                start, held = 0, []
            else:
                language, start, wrong = line[3:].strip(), number + 1, before == WRONG
        elif start:
            held.append(line)
        before = line.strip() or before
    assert not start, f"{page}: a block is not closed"


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf8"), flags=re.DOTALL | re.MULTILINE)


def spans(page: Path) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))


def all_blocks(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


class Shown(NamedTuple):
    """A `heed ...` line.   wrong: shown as a mistake.   named: in a sentence."""

    where: str
    line: str
    wrong: bool = False
    named: bool = False


def commands() -> list[Shown]:
    """Every `heed ...` line of all pages."""
    found = [
        Shown(f"{block.page.relative_to(ROOT)}:{block.line + number}", line.removeprefix("$ "), block.wrong)
        for block in all_blocks("bash", "sh", "console")
        for number, line in enumerate(block.lines)
        if re.match(r"(\$ )?heed( |$)", line)
    ]
    inline = [Shown(str(page.relative_to(ROOT)), span, named=True) for page in PAGES for span in spans(page)]
    return found + [shown for shown in inline if shown.line.startswith("heed ")]


def refusal(line: str, named: bool) -> str:
    """Why our own command line would refuse this line; empty where it would not. Nothing is run.

    named: it stands in a sentence, where a verb alone is a name.
    """
    verb, *arguments = shlex.split(line, comments=True)[1:]
    command = COMMANDS.commands.get(verb)
    if command is None:
        return "" if verb in ("--help", "--version") else f"there is no verb {verb!r}"
    if hasattr(command, "commands") and arguments:  # a group: its own command follows
        if arguments[0] not in command.commands:
            return f"there is no command {arguments[0]!r} of {verb}"
        command = command.commands[arguments.pop(0)]
    if named and not arguments:
        return ""
    try:
        given = command.make_context(f"heed {verb}", list(arguments)).params
        pretrain = verb == "pretrain"
        kind, recipe = (PretrainRecipe, ROOT / given["recipe"]) if pretrain else (Recipe, None)
        load_recipe(kind, recipe, given.get("settings") or [])
    except HeedError as error:
        return str(error)
    except USAGE as error:
        return str(error.format_message())
    return ""


def test_the_readme_runs_from_a_fresh_clone() -> None:
    """Its lines name files and models that come with a clone; what a reader has to bring stands in words, not in lines."""
    from heedlm.model.load import SHIPPED

    readme = [shown for shown in commands() if shown.where.startswith("README.md")]
    assert sum("--data" in shown.line for shown in readme) >= 4
    for shown in readme:
        given = shlex.split(shown.line, comments=True)
        for option, value in pairwise(given):
            if option == "--data":
                assert (ROOT / value).is_file(), shown
            if option == "--model":
                assert value in SHIPPED or value == "runs/mine", shown  # which the lines before have made
    for path in re.findall(r'data="([^"]+)"', (ROOT / "README.md").read_text("utf8")):
        assert (ROOT / path).is_file()


def slug(heading: str) -> str:
    """The anchor that a heading gets on the web."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_there_are_pages() -> None:
    assert len(PAGES) > 20
    assert len(commands()) > 40
    names = {shown.line.split()[1] for shown in commands()}
    assert names >= set(COMMANDS.commands), "a verb is shown nowhere"
    groups = {name: group for name, group in COMMANDS.commands.items() if hasattr(group, "commands")}
    words = {tuple(shown.line.split()[1:3]) for shown in commands()}
    assert words >= {(name, verb) for name, group in groups.items() for verb in group.commands}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    for text, target in re.findall(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"[{text}]({target})"
        assert there.is_relative_to(ROOT), f"[{text}]({target}) leaves the repository"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text("utf8"), flags=re.MULTILINE)
            assert anchor in map(slug, headings), f"[{text}]({target})"


@pytest.mark.parametrize("shown", commands(), ids=lambda shown: f"{shown.where} {shown.line[:40]}")
def test_every_command_that_is_shown_parses(shown: Shown) -> None:
    refused = refusal(shown.line, shown.named)
    assert bool(refused) == shown.wrong, f"{shown}\n{refused or 'was to be wrong'}"


def test_every_make_target_that_is_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf8"), flags=re.MULTILINE))
    shown = [line for block in all_blocks("bash") for line in block.lines] + [s for page in PAGES for s in spans(page)]
    named = {word for line in shown if (m := re.match(r"(?:\w+=\S+ )?make (.+)", line)) for word in m[1].split()}
    assert named
    assert {word for word in named if "=" not in word} <= targets


def test_every_setting_that_is_shown_exists() -> None:
    fields = {row.key for table in _script("make_configuration").tables() for row in table}
    known = fields | {field.rpartition(".")[0] for field in fields}
    wrong = []
    for page in PAGES:
        for span in spans(page):
            key, equals, value = span.partition("=")
            first, *rest = key.split(".")
            if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", key) or first not in SECTIONS or rest[-1] in FILES:
                continue
            if key not in known:
                wrong.append(f"{page.relative_to(ROOT)}: {key}")
            elif equals and value:
                load_recipe(Recipe, None, [span])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=lambda block: block.where)
def test_recipes_that_are_shown_are_valid(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(block.lines))
    if block.lines[0] == "# gate.yaml":
        from heedlm.eval.gate_file import read_gate

        read_gate(path)
        return
    if "tasks:" in block.lines:  # a suite
        from heedlm.eval.suites.read import read_suite

        one = {"prompt": "Hello.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
        (tmp_path / "ifeval_prompts.jsonl").write_text(json.dumps(one) + "\n")
        read_suite(path)
        return
    kind = PretrainRecipe if re.search(r"^(corpus|shape):", "\n".join(block.lines), re.MULTILINE) else Recipe
    load_recipe(kind, path)


@pytest.mark.parametrize("block", all_blocks("jsonl"), ids=lambda block: block.where)
def test_rows_that_are_shown_can_be_read(block: Block) -> None:
    from heedlm.data.schema import to_examples
    from heedlm.data.sources import Row
    from heedlm.eval.checks import example_problems

    for number, line in enumerate(block.lines):
        found = to_examples(Row(json.loads(line), f"{block.page.name}:{block.line + number}"))
        assert any(isinstance(one, Problem) for one in found) == block.wrong, found
        for one in found:
            if not isinstance(one, Problem) and "checks" in one.meta:
                assert not example_problems(one)


@pytest.mark.parametrize("block", all_blocks("python"), ids=lambda block: block.where)
def test_python_that_is_shown_compiles_and_imports_what_is_there(block: Block) -> None:
    tree = ast.parse("\n".join(block.lines))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                part = f"{node.module}.{alias.name}"
                assert hasattr(module, alias.name) or importlib.util.find_spec(part), part
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "heedlm":
            assert node.attr in heedlm.__all__
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            for keyword in node.keywords:
                if keyword.arg == "settings" and isinstance(keyword.value, ast.Dict):
                    pairs = ast.literal_eval(keyword.value)
                    load_recipe(Recipe, None, [f"{key}={json.dumps(value)}" for key, value in pairs.items()])


def test_files_that_are_named_exist() -> None:
    run = Run(Path("run"))
    of_a_run = {path.name for path in (run.data, run.tokens, run.model, run.adapter, run.checkpoints, run.eval)}
    missing = []
    for page in PAGES:
        for span in spans(page):
            ending = "/" if span.endswith("/") else span.rpartition(".")[2]
            if not re.fullmatch(r"[a-z_.][\w./-]*/[\w.-]*", span) or ending not in {*FILES, "/"}:
                continue
            first = span.split("/")[0]
            if first in {"runs", "path", "rows"} or first.startswith("step-") or "NAME" in span or "NNNN" in span:
                continue  # a run, or a name to be filled in
            if first in {*of_a_run, "tokenizer"} and ending in {"json", "jsonl", "npy", "/"}:
                continue  # a file of a run folder
            if not any((place / span).exists() for place in (ROOT, ROOT / "src" / "heedlm", page.parent)):
                missing.append(f"{page.relative_to(ROOT)}: {span}")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_generated_pages_are_current(name: str) -> None:
    script = _script(GENERATED[name])
    assert (ROOT / "docs" / name).read_text("utf8") == script.page(), f"run docs/{GENERATED[name]}.py"


def test_the_guide_is_current() -> None:
    """Made of the registries of blocks and rules: text and code cannot part."""
    held = {path.name: path.read_text("utf8") for path in (ROOT / "docs" / "guide").iterdir()}
    assert held == _script("make_guide").pages(), "run docs/make_guide.py"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_field_without_words_is_noticed() -> None:
    script = _script("make_configuration")
    words = {row.key: row.words for row in script.tables()[0]}
    words["train.gone"] = words.pop("train.lr")
    with pytest.raises(ValueError, match=r"train\.lr.*train\.gone"):
        script.rows(Recipe, words)


def test_tables_name_everything_there_is() -> None:
    from heedlm.atlas.papers import TASKS as PAPERS
    from heedlm.atlas.questions import TASKS as QUESTIONS
    from heedlm.eval.checks import CHECK_TYPES
    from heedlm.serve.terminal import COMMANDS as TYPED
    from heedlm.templates.chat import BUILT_IN

    rooms = ROOT / "docs" / "rooms"
    from heedlm.eval.scorers.registry import KINDS
    from heedlm.eval.suites.shipped import names

    assert {*CHECK_TYPES, *KINDS, *names()} <= set(spans(rooms / "eval.md"))
    assert {option for kind in KINDS.values() for option in kind.options} <= set(spans(rooms / "eval.md"))
    assert set(BUILT_IN) <= set(spans(rooms / "templates.md"))
    assert {task.name for task in (*QUESTIONS, *PAPERS)} <= set(spans(rooms / "atlas.md"))
    assert {f"/{name}" for name in TYPED} <= {span.split()[0] for span in spans(rooms / "serve.md")}


@pytest.mark.parametrize("room", sorted(p.parent.name for p in (ROOT / "src" / "heedlm").glob("*/__init__.py")))
def test_every_room_has_a_page_that_names_its_files(room: str) -> None:
    page = ROOT / "docs" / "rooms" / f"{room}.md"
    assert page.is_file()
    text = page.read_text("utf8")
    modules = {path.name for path in (ROOT / "src" / "heedlm" / room).glob("*.py")} - {"__init__.py"}
    unnamed = {name for name in modules if f"{room}/{name}" not in text}
    assert not unnamed


def test_decisions_are_numbered_and_listed() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    listed = (ROOT / "docs" / "README.md").read_text("utf8")
    assert [path.name[:4] for path in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for path in records:
        text = path.read_text("utf8")
        assert text.startswith(f"# {path.name[:4]} ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Evidence"))
        assert path.name in listed


def test_the_place_for_results_is_there_once() -> None:
    text = (ROOT / "README.md").read_text("utf8")
    assert text.count("<!-- results -->") == text.count("<!-- /results -->") == 1
    assert text.index("<!-- results -->") < text.index("<!-- /results -->")


def test_pages_hold_no_path_of_somebodys_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(work|tmp|home|root|Users)/", page.read_text("utf8")), page
