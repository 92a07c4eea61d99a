"""Scenarios: one TOML file to one typed, frozen Scenario, or one error that says how to mend it."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import json
import sys
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from leosim.tables import (
    KIND_KEYS,
    AlgorithmTable,
    CommunicationTable,
    ElementsTable,
    FaultTable,
    HandoverTable,
    LocalisationTable,
    SensingTable,
    Table,
    TimeTable,
    UsersTable,
)

PACKAGE = Path(__file__).parent


class ScenarioError(ValueError):
    """A scenario that cannot run: where, what was expected, what was got, how to mend it."""


def shipped(kind: Literal["scenarios", "tle"]) -> Path:
    """The folder of shipped scenarios or element sets, installed or in a checkout."""
    installed = PACKAGE / "_data" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind


class Scenario(Table):
    """Everything a run is made of; `base` is the folder its relative paths start from."""

    title: str = Field("", description="title of reports and figures")
    seed: int = Field(1, ge=0, lt=2**63, description="seed of all random streams")
    time: TimeTable = TimeTable()
    elements: ElementsTable
    users: UsersTable
    communication: CommunicationTable | None = None
    beamforming: AlgorithmTable = AlgorithmTable(algorithm="smrt")
    clustering: AlgorithmTable = AlgorithmTable(algorithm="cell_free")
    handover: HandoverTable = HandoverTable()
    sensing: SensingTable | None = None
    isac: AlgorithmTable | None = None
    detection: AlgorithmTable | None = None
    tracking: AlgorithmTable | None = None
    localisation: LocalisationTable | None = None
    ical: AlgorithmTable | None = None
    positioning: AlgorithmTable | None = None
    faults: list[FaultTable] = Field([], description="[[faults]] tables: what fails during the run")
    name: str = Field("scenario", exclude=True)
    base: Path = Field(Path("."), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _some_service(cls, data: Any) -> Any:
        """A scenario without the table of any service runs the communication service, with its defaults."""
        named = isinstance(data, Mapping) and any(service in data for service in TABLES_OF)
        return data if named or not isinstance(data, Mapping) else {**data, "communication": {}}

    @model_validator(mode="after")
    def _with_its_service(self) -> Scenario:
        if all(getattr(self, service) is None for service in TABLES_OF):
            raise ValueError(f"a service: one of {', '.join(f'[{service}]' for service in TABLES_OF)}")
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        for service, tables in TABLES_OF.items():
            for table in tables:
                if table in given and getattr(self, service) is None:
                    raise ValueError(f"[{service}] beside [{table}], which is part of that service")
        return self

    @model_validator(mode="after")
    def _faults_that_matter(self) -> Scenario:
        for number, fault in enumerate(self.faults, 1):
            if fault.at_s >= self.time.duration_s:
                raise ValueError(
                    f"at_s of fault {number} before the end of the run, {self.time.duration_s:g} s, got {fault.at_s:g}"
                )
            if fault.kind in ("feeder_link", "central_node", "elements") and self.communication is None:
                raise ValueError(f'[communication] for fault {number}, kind = "{fault.kind}"')
        return self

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of algorithms this scenario uses: echoes are looked for and followed if either is asked for."""
        absent = {table for service, tables in TABLES_OF.items() if getattr(self, service) is None for table in tables}
        if self.detection is None and self.tracking is None:
            absent |= {"detection", "tracking"}
        return tuple(folder for folder in ALGORITHM_FOLDERS if folder not in absent)

    def path(self, file: str) -> Path:
        """A path of the scenario, relative to its folder; a bare name may be that of a shipped element set."""
        path = Path(file) if Path(file).is_absolute() else (self.base / file).resolve()
        named = shipped("tle") / file
        return named if not path.exists() and Path(file).name == file and named.is_file() else path

    def with_(self, **tables: Any) -> Scenario:
        """A copy with some keys changed: `with_(seed=2, clustering={"algorithm": "best_satellite"})`.

        Keys of a table are merged into it; naming another algorithm drops the old one's parameters. None takes a
        key away; a service, `sensing=None`, with the tables that are part of it.
        """
        data = self.as_dict()
        for key, value in tables.items():
            if value is None and key in TABLES_OF:
                data = {name: table for name, table in data.items() if name not in TABLES_OF[key]}
            if isinstance(value, Mapping) and isinstance(data.get(key), dict):
                for name in value:
                    _make_room(data[key], name, value[name], key)
                data[key] = {**data[key], **value}
            else:
                data[key] = value
        return _build(data, self.name, self.base, self.name)

    def as_dict(self) -> dict[str, Any]:
        """The resolved scenario, every default written out, ready for JSON."""
        data = self.model_dump(mode="json", exclude_none=True)
        if self.communication is None:
            data = {name: table for name, table in data.items() if name not in TABLES_OF["communication"]}
        for folder in self.folders:
            _, params = self.algorithm(folder)
            data[folder] = {"algorithm": self._table(folder).algorithm, **dataclasses.asdict(params)}
        return json.loads(json.dumps(data))

    def algorithm(self, folder: str) -> tuple[ModuleType, Any]:
        """The module of an algorithm table and its `Params`, built from the table."""
        table = self._table(folder)
        return algorithm(folder, {"algorithm": table.algorithm, **table.settings}, self.base)

    def _table(self, folder: str) -> AlgorithmTable:
        return getattr(self, folder) or AlgorithmTable(algorithm=UNLESS_NAMED[folder])

    def to_json(self) -> str:
        """The resolved scenario as one line of JSON."""
        return json.dumps(self.as_dict(), sort_keys=True)


ALGORITHM_FOLDERS = {  # and the functions a file in each must have
    "beamforming": ("beams",),
    "clustering": ("cluster",),
    "isac": ("design",),
    "detection": ("detect",),
    "tracking": ("begin", "predict", "update"),
    "ical": ("design",),
    "positioning": ("fix",),
}
UNLESS_NAMED = {  # the algorithm of a folder where none is named
    "isac": "rsma",
    "detection": "mf_first",
    "tracking": "imm",
    "ical": "hybrid",
    "positioning": "ml",
}
TABLES_OF = {  # each service and the tables that are part of it: a service whose table is absent does not run
    "communication": ("beamforming", "clustering", "handover"),
    "sensing": ("isac", "detection", "tracking"),
    "localisation": ("ical", "positioning"),
}
SHARED_PARAMETERS = {  # of all algorithms of a folder
    "clustering": ("k_max", "candidates"),
    "isac": ("access", "radar", "on_infeasible", "cap_share"),
}


def algorithms(folder: str) -> list[str]:
    """Names of the algorithms in a folder of the package."""
    return sorted(p.stem for p in (PACKAGE / folder).glob("*.py") if not p.stem.startswith("_"))


def load_algorithm(folder: str, name: str, base: Path = Path(".")) -> ModuleType:
    """Find an algorithm by file name in its folder, by path, or by dotted name.

    Raises ScenarioError when there is none, or it lacks `Params` or the folder's function.
    """
    if name.endswith(".py"):
        file = (base / name).resolve()
        if not file.is_file():
            raise ScenarioError(f"[{folder}] algorithm: expected a file, got {name!r}, which does not exist")
        label = f"leosim_algorithm_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(label, file)
        if spec is None or spec.loader is None:
            raise ScenarioError(f"[{folder}] algorithm: {name!r} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[label] = module
        try:
            spec.loader.exec_module(module)
        except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
            del sys.modules[label]
            raise ScenarioError(
                f"[{folder}] algorithm: {name} cannot be loaded: {type(error).__name__}: {error}"
            ) from None
    elif "." in name:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise ScenarioError(f"[{folder}] algorithm: cannot import {name!r} ({error})") from None
    elif name in algorithms(folder):
        module = importlib.import_module(f"leosim.{folder}.{name}")
    else:
        raise ScenarioError(
            f"[{folder}] algorithm: expected one of {', '.join(algorithms(folder))}, "
            f"a path ending in .py or a dotted name, got {name!r}{_nearest(name, algorithms(folder))}"
        )
    for needed in ("Params", *ALGORITHM_FOLDERS[folder]):
        if not hasattr(module, needed):
            raise ScenarioError(f"[{folder}] algorithm: {name!r} lacks `{needed}`, which this folder asks for")
    if not dataclasses.is_dataclass(module.Params):
        raise ScenarioError(
            f"[{folder}] algorithm: `Params` of {name!r} is no dataclass; put @dataclass(frozen=True) on it"
        )
    return module


def algorithm(folder: str, table: str | Mapping[str, Any], base: Path = Path(".")) -> tuple[ModuleType, Any]:
    """The module of an algorithm and its `Params`, from a name or from a table as it stands in a scenario.

    table : "smrt", or {"algorithm": "best_satellite", "by": "rate"}
    Raises ScenarioError for what it names and there is not.
    """
    settings = {"algorithm": table} if isinstance(table, str) else dict(table)
    name = settings.pop("algorithm", None)
    if not isinstance(name, str):
        raise ScenarioError(f"[{folder}] algorithm: expected a name, got {name!r}")
    module = load_algorithm(folder, name, base)
    return module, _params(module, folder, settings)


def algorithm_source(module: ModuleType) -> tuple[str, str]:
    """Source text and SHA-256 of an algorithm."""
    text = Path(str(module.__file__)).read_text()
    return text, hashlib.sha256(text.encode()).hexdigest()


def _params(module: ModuleType, folder: str, settings: dict[str, Any]) -> Any:
    known = {f.name: f for f in dataclasses.fields(module.Params)}
    for key in settings:
        if key not in known:
            raise ScenarioError(
                f"[{folder}] {key}: unknown key; {module.__name__.rsplit('.', 1)[-1]} knows "
                f"{', '.join(known) or 'no keys'}{_nearest(key, known)}"
            )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    try:
        return module.Params(**values)
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"[{folder}] {error}") from None


def _nearest(word: str, words: Any) -> str:
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def load_scenario(
    source: str | Path | Mapping[str, Any], base: Path | str | None = None, name: str = "scenario", label: str = ""
) -> Scenario:
    """Read a scenario: the name of a shipped one, the path of a TOML file, or a dict.

    base : folder that relative paths of a dict start from (default: the current one); name, label : of a
    dict, for outputs and for messages
    Raises ScenarioError with one line for each thing wrong, before anything runs.
    """
    if isinstance(source, Mapping):
        return _build(dict(source), name, Path(base) if base else Path.cwd(), label or name)
    path = find_scenario(source)
    return _build(read_toml(path), path.stem, path.parent.resolve(), path.name)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a scenario file as written. Raises ScenarioError when it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path.name}: not TOML: {error}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path.name}: expected a UTF-8 text file, got something else") from None


def to_toml(data: Mapping[str, Any]) -> str:
    """A resolved scenario as TOML text, plain values before tables."""
    lines = [f"{key} = {_toml_value(value)}" for key, value in data.items() if not isinstance(value, Mapping)]
    for key, table in data.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{key}]", *(f"{name} = {_toml_value(value)}" for name, value in table.items())]
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml_value(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value)


def find_scenario(source: str | Path) -> Path:
    """The file of a scenario named by path or by shipped name. Raises ScenarioError when there is none."""
    path = Path(source)
    if path.is_file():
        return path
    named = shipped("scenarios") / f"{source}.toml"
    if path.suffix == "" and len(path.parts) == 1 and named.is_file():
        return named
    names = sorted(p.stem for p in shipped("scenarios").glob("*.toml"))
    raise ScenarioError(
        f"{source}: no such scenario; expected the path of a TOML file or one of {', '.join(names)}"
        f"{_nearest(path.stem, names)}"
    )


def _build(data: dict[str, Any], name: str, base: Path, label: str) -> Scenario:
    for reserved in ("name", "base"):
        if reserved in data:
            raise ScenarioError(f"{label}: {reserved}: unknown key{_nearest(reserved, Scenario.model_fields)}")
    try:
        scenario = Scenario.model_validate({**data, "name": name, "base": base})
    except ValidationError as error:
        lines: dict[str, str] = {}  # the first complaint about each place
        for line in map(_explain, error.errors()):
            lines.setdefault(line.split(": ")[0], f"{label}: {line}")
        raise ScenarioError("\n".join(lines.values())) from None
    try:
        for folder in scenario.folders:
            scenario.algorithm(folder)
    except ScenarioError as error:
        raise ScenarioError(f"{label}: {error}") from None
    return scenario


UNION_PARTS = ("datetime", "str", "int", "float")  # pydantic names the member of a union it tried


def _explain(error: Any) -> str:
    """One pydantic error as one line: where, expected, got, how to mend it."""
    location = [part for part in error["loc"] if not (isinstance(part, str) and ("[" in part or part in UNION_PARTS))]
    keys = [part for part in location if isinstance(part, str)]
    where = f"[{'.'.join(keys[:-1])}] {keys[-1]}" if len(keys) > 1 else (keys[0] if keys else "scenario")
    where = f"[{'.'.join(keys)}]" if keys and _table(keys) else where
    where += "".join(f", item {part + 1}" for part in location if isinstance(part, int))
    kind, context, got = error["type"], error.get("ctx", {}), _shown(error["input"])
    if kind == "extra_forbidden":
        known = _keys_of(keys[:-1])
        return f"{where}: unknown key{_nearest(keys[-1], known) or '; known: ' + ', '.join(known)}"
    if kind == "missing":
        return f"{where}: missing; expected {_description(keys)}"
    if kind == "value_error":
        reason = str(context.get("error", error["msg"]))
        return f"{where}: expected {reason}" + ("" if isinstance(error["input"], dict) else f", got {got}")
    expected = {
        "model_type": "a table of keys",
        "model_attributes_type": "a table of keys",
        "greater_than": "a number above {gt:g}",
        "greater_than_equal": "a number of at least {ge:g}",
        "less_than": "a number below {lt:g}",
        "less_than_equal": "a number of at most {le:g}",
        "literal_error": "one of {expected}",
        "too_short": "at least {min_length}",
    }.get(kind)
    text = expected.format(**context) if expected else _plain(error["msg"])
    return f"{where}: expected {text}, got {got} ({_description(keys)})"


def _plain(message: str) -> str:
    for prefix in ("Input should be ", "Value error, "):
        message = message.removeprefix(prefix)
    return message


def _shown(value: Any) -> str:
    text = value.isoformat() if isinstance(value, datetime) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _table(keys: list[str]) -> type[BaseModel] | None:
    table: Any = Scenario
    for key in keys:
        field = table.model_fields.get(key) if isinstance(table, type) and issubclass(table, BaseModel) else None
        if field is None:
            return None
        table = _model(field.annotation)
    return table if isinstance(table, type) and issubclass(table, BaseModel) else None


def _model(annotation: Any) -> Any:
    """The table behind an annotation: itself, one that may be absent, or one of a list."""
    inner = [a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
    return inner[0] if inner else annotation


def _keys_of(keys: list[str]) -> list[str]:
    table = _table(keys)
    return [k for k in table.model_fields if table is not Scenario or k not in ("name", "base")] if table else []


def _description(keys: list[str]) -> str:
    table = _table(keys[:-1])
    field = table.model_fields.get(keys[-1]) if table and keys else None
    if field is None or not field.description:
        return f"a table [{'.'.join(keys)}]" if keys and _table(keys) else "a value"
    return field.description


def set_key(data: dict[str, Any], assignment: str) -> None:
    """Apply one `table.key=value` of the command line; the value is TOML, or else taken as text.

    Raises ScenarioError when it is not of that form.
    """
    key, separator, text = assignment.partition("=")
    parts = [p.strip() for p in key.split(".")]
    if not separator or not all(parts):
        raise ScenarioError(f"--set {assignment}: expected table.key=value, such as clustering.k_max=4")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for part in parts[:-1]:
        below = data.setdefault(part, {})
        if not isinstance(below, dict):
            raise ScenarioError(f"--set {assignment}: {part} is a value, not a table")
        data = below
    _make_room(data, parts[-1], value, parts[-2] if len(parts) > 1 else "")
    data[parts[-1]] = value


def _make_room(table: dict[str, Any], key: str, value: Any, folder: str) -> None:
    """Drop from a table what cannot stand beside a new value of a key.

    Another kind of users drops the keys of the old kind, one noise key the other, another algorithm all
    parameters but those that the algorithms of a folder share.
    """
    gone: set[str] = set()
    if key == "kind" and table.get("kind") != value:
        gone = {name for kind, names in KIND_KEYS.items() if kind != value for name in names}
    elif key in ("noise_dbm", "noise_figure_db"):
        gone = {"noise_dbm", "noise_figure_db"} - {key}
    elif key == "algorithm" and table.get("algorithm") != value:
        gone = set(table) - {"algorithm", *SHARED_PARAMETERS.get(folder, ())}
    for name in gone:
        table.pop(name, None)


def list_keys() -> list[tuple[str, str, str]]:
    """Every key of a scenario with its default and meaning, for the command line."""
    rows: list[tuple[str, str, str]] = []

    def walk(table: type[BaseModel], prefix: str) -> None:
        for key, field in table.model_fields.items():
            if key in ("name", "base") and table is Scenario:
                continue
            below = _model(field.annotation)
            if below is AlgorithmTable:
                default = field.default.algorithm if field.default else UNLESS_NAMED[key]
                rows.append((f"{prefix}{key}.algorithm", default, f"one of {', '.join(algorithms(key))}"))
                for name in algorithms(key):
                    for f in dataclasses.fields(importlib.import_module(f"leosim.{key}.{name}").Params):
                        meaning = f"{name}: {f.metadata.get('doc', '')}"
                        rows.append((f"{prefix}{key}.{f.name}", str(f.default), meaning))
            elif isinstance(below, type) and issubclass(below, BaseModel):
                walk(below, f"{prefix}{key}.")
            else:
                default = "required" if field.is_required() else str(field.default)
                rows.append((f"{prefix}{key}", default, field.description or ""))

    walk(Scenario, "")
    return rows
