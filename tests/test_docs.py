"""The examples of the documentation run, and its table of scenario keys is the one the code has.

`python tests/test_docs.py` rewrites that table.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from leosim import cli
from leosim.scenario import list_keys

ROOT = Path(__file__).parents[1]
PAGES = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if path.is_file()]
KEYS_PAGE = ROOT / "docs" / "scenario.md"
KEYS_BEGIN, KEYS_END = "<!-- keys: begin -->", "<!-- keys: end -->"
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block: its line on the page, language, the rest of the info string, and text."""

    line: int
    language: str
    mark: str
    text: str


def blocks(path):
    found, opened = [], None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if opened is None and line.startswith("```"):
            language, _, mark = line[3:].strip().partition(" ")
            opened = (number, language, mark, [])
        elif line.startswith("```"):
            found.append(Block(*opened[:3], "\n".join(opened[3]) + "\n"))
            opened = None
        elif opened is not None:
            opened[3].append(line)
    assert opened is None, f"{path.name}:{opened[0]}: a fenced block that does not end"
    return found


def steps(path):
    """What a page makes the reader do: files to save (mark: their name), blocks to run."""
    for block in blocks(path):
        if "." in block.mark or (block.language in ("python", "console") and block.mark != "no-run"):
            yield block


def run_command(command, folder):
    """Exit code and output of a line: `leosim` in this process, to save starting one; the rest in a shell."""
    if command.startswith("leosim ") and not set(command) & set(";|<>*$"):
        printed = io.StringIO()
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            pytest.MonkeyPatch.context() as m,
        ):
            m.setattr(sys, "argv", shlex.split(command))
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
        return code, printed.getvalue()
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": search}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def run_console(block, page, folder):
    """Run the lines after `$ `; where output is shown below one, the first line of it must be printed."""
    commands = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append([line[2:], []])
        elif commands and line.strip():
            commands[-1][1].append(line)
    for command, shown in commands:
        command, _, wanted = command.partition("  # exit ")
        code, printed = run_command(command, folder)
        place = f"{page.name}:{block.line}: $ {command}\n{printed}"
        assert code == int(wanted or 0), place
        if shown:
            assert " ".join(shown[0].split()) in " ".join(printed.split()), place


def run_page(page, folder):
    names = {"__name__": "__docs__"}
    for block in steps(page):
        if "." in block.mark:
            (folder / block.mark).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            run_console(block, page, folder)
        else:
            code = compile("\n" * block.line + block.text, str(page), "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, names)


def code(text):
    return "`" + text.replace("|", "\\|") + "`"


def keys_table():
    """The keys of a scenario, a table for each of its tables, as Markdown."""
    lines, last = [], None
    for key, default, meaning in list_keys():
        table = key.rpartition(".")[0]
        if table != last:
            lines += ["", f"### `[{table}]`" if table else "### Before the first table", ""]
            lines += ["| key | default | meaning |", "|---|---|---|"]
            last = table
        if default == "required":
            shown = "required"
        elif default == "None":
            shown = "not set"
        else:
            try:
                float(default)
                literal = True
            except ValueError:
                literal = default.startswith(("[", "("))
            shown = code(default.replace("(", "[").replace(")", "]") if literal else f'"{default}"')
        escaped = meaning.replace("|", "\\|")
        lines.append(f"| `{key.rpartition('.')[2]}` | {shown} | {escaped} |")
    return "\n".join(lines).strip() + "\n"


def with_keys_table(text):
    """A page with its table of keys made anew."""
    head, begin, rest = text.partition(KEYS_BEGIN)
    _, end, tail = rest.partition(KEYS_END)
    assert begin, f"{KEYS_PAGE.name}: expected {KEYS_BEGIN}"
    assert end, f"{KEYS_PAGE.name}: expected {KEYS_END}"
    return f"{head}{begin}\n\n{keys_table()}\n{end}{tail}"


@pytest.mark.parametrize("page", [page for page in PAGES if list(steps(page))], ids=lambda path: path.name)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("COLUMNS", "200")
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_the_links_of_a_page_lead_somewhere(page):
    targets = [link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    local = [link for link in targets if link and "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_index_lists_every_page():
    listed = set(LINK.findall((ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= listed


def test_the_table_of_keys_is_up_to_date():
    text = KEYS_PAGE.read_text(encoding="utf-8")
    assert text == with_keys_table(text), "refresh it: python tests/test_docs.py"


if __name__ == "__main__":
    KEYS_PAGE.write_text(with_keys_table(KEYS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
