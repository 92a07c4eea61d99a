"""Scenarios: one TOML file to one typed, frozen Scenario, or one error that says how to mend it.

Keys carry their units; properties and methods here give SI, linear and radians, once.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import json
import math
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from leosim.channel import Radio
from leosim.rates import Coherence
from leosim.units import db_to_linear, dbm_to_w, noise_power_w, s_to_ns

PACKAGE = Path(__file__).parent


class ScenarioError(ValueError):
    """A scenario that cannot run: where, what was expected, what was got, how to mend it."""


def shipped(kind: Literal["scenarios", "tle"]) -> Path:
    """The folder of shipped scenarios or element sets, installed or in a checkout."""
    installed = PACKAGE / "_data" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("a number, without quotes")
    return value


Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
Latitude = Annotated[float, BeforeValidator(_number), Field(ge=-90, le=90)]
Longitude = Annotated[float, BeforeValidator(_number), Field(ge=-180, le=360)]
Elevation = Annotated[float, BeforeValidator(_number), Field(ge=0, le=89)]


class Table(BaseModel):
    """A TOML table: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeTable(Table):
    """When the run takes place."""

    start: datetime | Literal["elements"] = Field(
        "elements",
        description='"elements" (the median epoch of the elements) or a date and time with its zone',
    )
    duration_s: Positive = Field(600.0, description="length of the run (s)")
    step_s: Positive = Field(1.0, description="time step of geometry, statistical CSI and scoring (s)")

    @field_validator("start", mode="before")
    @classmethod
    def _zoned(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "elements":
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise ValueError('"elements" or a date and time such as 2026-08-22T02:00:00Z') from None
        if isinstance(value, datetime) and value.tzinfo is None:
            raise ValueError(f"a time with its zone, such as {value.isoformat()}Z")
        return value

    @model_validator(mode="after")
    def _whole_steps(self) -> TimeTable:
        steps = self.duration_s / self.step_s
        if abs(steps - round(steps)) > 1e-9 * steps or round(steps) < 1:
            nearest = max(1, round(steps)) * self.step_s
            raise ValueError(
                f"duration_s to be a whole number of steps of {self.step_s:g} s, such as {nearest:g}, "
                f"got {self.duration_s:g}"
            )
        return self

    @property
    def step_ns(self) -> int:
        """Time step (ns)."""
        return s_to_ns(self.step_s)

    @property
    def epochs(self) -> int:
        """Number of epochs of the run."""
        return round(self.duration_s / self.step_s)

    @property
    def start_utc(self) -> datetime | None:
        """The start in UTC, None where the elements decide."""
        return None if self.start == "elements" else self.start.astimezone(UTC)


class ElementsTable(Table):
    """Which satellites fly."""

    file: str | list[str] = Field(description="one or several files of elements: TLE, 3LE or OMM (JSON, CSV, XML)")
    include: list[str] = Field([], description='patterns of names, such as "STARLINK*"; empty: all')
    altitude_km: tuple[NonNegative, NonNegative] | None = Field(None, description="lowest and highest mean height (km)")
    max_age_days: Positive = Field(30.0, description="elements older than this at the start are quarantined")
    propagation: Literal["knots", "exact"] = Field(
        "knots", description="knots: cubic Hermite between knots (within 1 m); exact: SGP4 at each epoch"
    )
    knot_s: Annotated[float, BeforeValidator(_number), Field(ge=1, le=60)] = Field(
        30.0, description="distance of the knots (s)"
    )

    @property
    def files(self) -> tuple[str, ...]:
        """The files, as written."""
        return (self.file,) if isinstance(self.file, str) else tuple(self.file)


KIND_KEYS = {
    "circle": ("centre_deg", "radius_km", "count"),
    "sites": ("file",),
    "grid": ("lat_deg", "lon_deg", "step_deg"),
}


class UsersTable(Table):
    """Who is on the ground."""

    kind: Literal["circle", "sites", "grid"] = Field("circle", description="circle, sites (a CSV file) or grid")
    mask_deg: Elevation = Field(25.0, description="lowest elevation of a serving satellite (degrees)")
    centre_deg: tuple[Latitude, Longitude] | None = Field(None, description="circle: latitude and longitude")
    radius_km: Positive | None = Field(None, description="circle: radius (km)")
    count: int | None = Field(None, ge=1, le=100_000, description="circle: number of users")
    file: str | None = Field(None, description="sites: CSV with name, lat_deg, lon_deg and, if wished, alt_m, mask_deg")
    lat_deg: tuple[Latitude, Latitude] | None = Field(None, description="grid: southern and northern latitude")
    lon_deg: tuple[Longitude, Longitude] | None = Field(None, description="grid: western and eastern longitude")
    step_deg: tuple[Positive, Positive] | None = Field(None, description="grid: steps of latitude and longitude")

    @model_validator(mode="after")
    def _complete(self) -> UsersTable:
        for kind, keys in KIND_KEYS.items():
            for key in keys:
                if kind == self.kind and getattr(self, key) is None:
                    raise ValueError(f'{key}, which kind = "{kind}" needs')
                if kind != self.kind and getattr(self, key) is not None:
                    raise ValueError(f'no {key}, which belongs to kind = "{kind}"')
        return self


class CoherenceTable(Table):
    """What is assumed of carrier phases between satellites."""

    cross_terms: Literal["ideal", "finite", "averaged", "noncoherent"] = Field(
        "averaged", description="how interference of several satellites adds up over a codeword"
    )
    slow_deg: Annotated[float, Field(ge=0, le=180)] = Field(0.0, description="rms phase error tracked by pilots")
    fast_deg: Annotated[float, Field(ge=0, le=180)] = Field(0.0, description="rms phase error within a codeword")
    codeword_s: Positive = Field(1e-3, description='duration of a codeword, for cross_terms = "finite" (s)')
    planned_share: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)] | None = Field(
        None, description="share of cross terms decisions plan as coherent, the rest as power; none: as cross_terms"
    )

    @model_validator(mode="after")
    def _one_sum(self) -> CoherenceTable:
        if self.planned_share is not None and self.cross_terms == "noncoherent":
            raise ValueError('no planned_share beside cross_terms = "noncoherent", where useful powers add too')
        return self


class CommunicationTable(Table):
    """Radio and timing of the communication service."""

    carrier_hz: Positive = Field(5e9, description="carrier frequency (Hz)")
    bandwidth_hz: Positive = Field(20e6, description="bandwidth (Hz)")
    power_dbm: Number = Field(50.0, description="power of a satellite (dBm)")
    noise_figure_db: NonNegative | None = Field(None, description="noise figure of a user over 290 K (dB); default 7")
    noise_dbm: Number | None = Field(None, description="noise power of a user, instead of a noise figure (dBm)")
    array: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        (16, 16), description="rows (along track) and columns (across) of a satellite's half-wavelength array"
    )
    element: Literal["cosine", "isotropic"] = Field("cosine", description="pattern of an element: pi cos(theta) or 1")
    satellite_gain_db: Number = Field(0.0, description="constant gain besides element and array (dB)")
    user_gain_db: Number = Field(0.0, description="antenna gain of a user (dB)")
    zenith_absorption_db: NonNegative = Field(0.04, description="gas absorption at zenith (dB)")
    channel: Literal["tr38811", "rician"] = Field("tr38811", description="3GPP TR 38.811 suburban, or Rician")
    k_factor_db: tuple[Number, Number] = Field((15.0, 20.0), description="rician: limits of the uniform K-factor (dB)")
    period_s: Positive = Field(1.0, description="time between two decisions (s)")
    csi_delay_s: NonNegative = Field(0.12, description="delay of the CSI on its way to the central node (s)")
    decision_delay_s: NonNegative = Field(0.12, description="delay of a decision on its way to the satellites (s)")
    compute_s: NonNegative = Field(0.05, description="declared compute time of a decision (s)")
    ergodic_draws: int = Field(32, ge=1, le=100_000, description="fading draws of the ergodic rate, an epoch")
    coherence: CoherenceTable = CoherenceTable()

    @model_validator(mode="after")
    def _one_noise(self) -> CommunicationTable:
        if self.noise_dbm is not None and self.noise_figure_db is not None:
            raise ValueError("either noise_figure_db or noise_dbm, not both")
        if self.k_factor_db[0] > self.k_factor_db[1]:
            raise ValueError(f"k_factor_db with the lower limit first, got {list(self.k_factor_db)}")
        return self

    @property
    def noise_w(self) -> float:
        """Noise power of a user's receiver (W)."""
        if self.noise_dbm is not None:
            return dbm_to_w(self.noise_dbm)
        return noise_power_w(self.bandwidth_hz, 7.0 if self.noise_figure_db is None else self.noise_figure_db)

    def radio(self, seed: int) -> Radio:
        """The radio side in SI and linear units."""
        return Radio(
            carrier_hz=self.carrier_hz,
            bandwidth_hz=self.bandwidth_hz,
            power_w=dbm_to_w(self.power_dbm),
            noise_w=self.noise_w,
            rows=self.array[0],
            columns=self.array[1],
            element=self.element,
            satellite_gain=db_to_linear(self.satellite_gain_db),
            user_gain=db_to_linear(self.user_gain_db),
            zenith_absorption=db_to_linear(-self.zenith_absorption_db),
            model=self.channel,
            k_factor_db=self.k_factor_db,
            seed=seed,
        )

    def coherence_model(self) -> Coherence:
        """The coherence model, in radians."""
        return Coherence(
            cross_terms=self.coherence.cross_terms,
            slow_rad=math.radians(self.coherence.slow_deg),
            fast_rad=math.radians(self.coherence.fast_deg),
            bandwidth_hz=self.bandwidth_hz,
            codeword_s=self.coherence.codeword_s,
            planned_share=self.coherence.planned_share,
        )


class HandoverTable(Table):
    """What a change of the serving set costs."""

    acquisition_s: NonNegative = Field(0.02, description="time a joining satellite is mute for (s)")
    interruption_s: NonNegative = Field(0.05, description="outage of a hard change (s)")
    access_slots: int = Field(4, ge=1, description="users a satellite can acquire at once")
    ping_pong_window_s: Positive = Field(10.0, description="a satellite that comes back within this time (s)")


class AlgorithmTable(BaseModel):
    """Which algorithm, and its parameters (checked against the algorithm's own `Params`)."""

    model_config = ConfigDict(extra="allow", frozen=True)
    algorithm: str = Field(min_length=1, description="name of a file in the folder, a path, or a dotted name")

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters as written."""
        return dict(self.__pydantic_extra__ or {})


class Scenario(Table):
    """Everything a run is made of; `base` is the folder its relative paths start from."""

    title: str = Field("", description="title of reports and figures")
    seed: int = Field(1, ge=0, lt=2**63, description="seed of all random streams")
    time: TimeTable = TimeTable()
    elements: ElementsTable
    users: UsersTable
    communication: CommunicationTable = CommunicationTable()
    beamforming: AlgorithmTable = AlgorithmTable(algorithm="smrt")
    clustering: AlgorithmTable = AlgorithmTable(algorithm="cell_free")
    handover: HandoverTable = HandoverTable()
    name: str = Field("scenario", exclude=True)
    base: Path = Field(Path("."), exclude=True)

    def path(self, file: str) -> Path:
        """A path of the scenario, relative to its folder; a bare name may be that of a shipped element set."""
        path = Path(file) if Path(file).is_absolute() else (self.base / file).resolve()
        named = shipped("tle") / file
        return named if not path.exists() and Path(file).name == file and named.is_file() else path

    def with_(self, **tables: Any) -> Scenario:
        """A copy with some keys changed: `with_(seed=2, clustering={"algorithm": "best_satellite"})`.

        Keys of a table are merged into it; naming another algorithm drops the old one's parameters.
        """
        data = self.as_dict()
        for key, value in tables.items():
            if isinstance(value, Mapping) and isinstance(data.get(key), dict):
                for name in value:
                    _make_room(data[key], name, value[name])
                data[key] = {**data[key], **value}
            else:
                data[key] = value
        return _build(data, self.name, self.base, self.name)

    def as_dict(self) -> dict[str, Any]:
        """The resolved scenario, every default written out, ready for JSON."""
        data = self.model_dump(mode="json", exclude_none=True)
        for folder in ALGORITHM_FOLDERS:
            _, params = self.algorithm(folder)
            data[folder] = {"algorithm": getattr(self, folder).algorithm, **dataclasses.asdict(params)}
        return json.loads(json.dumps(data))

    def algorithm(self, folder: str) -> tuple[ModuleType, Any]:
        """The module of an algorithm table and its `Params`, built from the table."""
        table: AlgorithmTable = getattr(self, folder)
        return algorithm(folder, {"algorithm": table.algorithm, **table.settings}, self.base)

    def to_json(self) -> str:
        """The resolved scenario as one line of JSON."""
        return json.dumps(self.as_dict(), sort_keys=True)


ALGORITHM_FOLDERS = {"beamforming": "beams", "clustering": "cluster"}


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
    for needed in ("Params", ALGORITHM_FOLDERS[folder]):
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
    lines = [f"{key} = {json.dumps(value)}" for key, value in data.items() if not isinstance(value, Mapping)]
    for key, table in data.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{key}]"]
            for name, value in table.items():
                if isinstance(value, Mapping):
                    inner = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
                    lines.append(f"{name} = {{ {inner} }}")
                else:
                    lines.append(f"{name} = {json.dumps(value)}")
    return "\n".join(lines)


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
        for folder in ALGORITHM_FOLDERS:
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
        table = field.annotation
    return table if isinstance(table, type) and issubclass(table, BaseModel) else None


def _keys_of(keys: list[str]) -> list[str]:
    table = _table(keys)
    return [k for k in table.model_fields if k not in ("name", "base")] if table else []


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
    _make_room(data, parts[-1], value)
    data[parts[-1]] = value


def _make_room(table: dict[str, Any], key: str, value: Any) -> None:
    """Drop from a table what cannot stand beside a new value of a key.

    Another kind of users drops the keys of the old kind, one noise key the other, another algorithm all
    parameters but those that every clustering shares.
    """
    gone: set[str] = set()
    if key == "kind" and table.get("kind") != value:
        gone = {name for kind, names in KIND_KEYS.items() if kind != value for name in names}
    elif key in ("noise_dbm", "noise_figure_db"):
        gone = {"noise_dbm", "noise_figure_db"} - {key}
    elif key == "algorithm" and table.get("algorithm") != value:
        gone = set(table) - {"algorithm", "k_max", "candidates"}
    for name in gone:
        table.pop(name, None)


def list_keys() -> list[tuple[str, str, str]]:
    """Every key of a scenario with its default and meaning, for the command line."""
    rows: list[tuple[str, str, str]] = []

    def walk(table: type[BaseModel], prefix: str) -> None:
        for key, field in table.model_fields.items():
            if key in ("name", "base"):
                continue
            below = field.annotation
            if isinstance(below, type) and issubclass(below, BaseModel) and below is not AlgorithmTable:
                walk(below, f"{prefix}{key}.")
            elif below is AlgorithmTable:
                default = field.default.algorithm
                rows.append((f"{prefix}{key}.algorithm", default, f"one of {', '.join(algorithms(key))}"))
                for name in algorithms(key):
                    for f in dataclasses.fields(importlib.import_module(f"leosim.{key}.{name}").Params):
                        rows.append(
                            (
                                f"{prefix}{key}.{f.name}",
                                str(f.default),
                                f"{name}: {f.metadata.get('doc', '')}",
                            )
                        )
            else:
                default = "required" if field.is_required() else str(field.default)
                rows.append((f"{prefix}{key}", default, field.description or ""))

    walk(Scenario, "")
    return rows
