"""The `leosim` command: thin wrappers around the public functions.

stdout is the result, progress and warnings go to stderr. Exit: 0 ok, 2 usage or scenario, 3 elements,
4 log, 5 nothing visible, 6 verification found differences, 130 stopped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

import leosim
from leosim import (
    channel,
    elements,
    localisation,
    omm,
    papers,
    position_task,
    precoding,
    replays,
    scenario,
    sensing,
    simulation,
    stopping,
    tle,
    verification,
    walkers,
)
from leosim.log import Log, LogError, open_log
from leosim.output import unfinished_beside
from leosim.report import compare as comparison
from leosim.report import figures
from leosim.report.about import has_communication
from leosim.report.dwells import has_sensing, sensing_table
from leosim.report.events import event_table, has_events
from leosim.report.localised import has_localisation, localisation_table
from leosim.report.stages import ALL, real_time_factor, stages
from leosim.report.summary import per_user, summary
from leosim.studies import trade as trades
from leosim.units import rad_to_deg

OK, USAGE, ELEMENTS, LOG, NOTHING_VISIBLE, DIFFERS, STOPPED = 0, 2, 3, 4, 5, 6, 130
FAULTS: dict[type[ValueError], int] = {
    scenario.ScenarioError: USAGE,
    elements.ElementsError: ELEMENTS,
    LogError: LOG,
    simulation.NothingVisibleError: NOTHING_VISIBLE,
    precoding.InfeasibleError: USAGE,
    position_task.InfeasibleError: USAGE,
}

# The base of usage errors: of click, or of the copy of it that newer versions of typer bring along.
USAGE_FAULT: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    help="Fly a LEO constellation from its elements and simulate the users under it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
elements_app = typer.Typer(help="Check element files and make Walker sets.", no_args_is_help=True)
app.add_typer(elements_app, name="elements")
out, err = Console(soft_wrap=True, highlight=False), Console(stderr=True, highlight=False)

ScenarioArgument = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="path of a TOML file, or the name of a shipped scenario")
]
ElementsOption = Annotated[list[Path] | None, typer.Option("--elements", help="element file instead; repeatable")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="change a key, such as clustering.k_max=4")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="seed instead of the scenario's")]
OutputOption = Annotated[Path | None, typer.Option("-o", "--output", help="where to write")]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="threads; the data are the same with any number")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]
LogArgument = Annotated[Path, typer.Argument(metavar="LOG", help="a log")]


def main() -> None:
    """Run the command; a fault is one line on stderr and an exit code, never a traceback."""
    code: Any = OK
    try:
        code = app(standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except tuple(FAULTS) as fault:
        for line in str(fault).splitlines():
            err.print(f"leosim: {line}", markup=False, soft_wrap=True)
        sys.exit(next(code for kind, code in FAULTS.items() if isinstance(fault, kind)))
    except USAGE_FAULT as fault:
        err.print(f"leosim: {fault.format_message()} (leosim --help)", markup=False, soft_wrap=True)
        sys.exit(USAGE)
    if code == STOPPED:  # Ctrl-C; some versions of typer return the code, others raise
        err.print("leosim: stopped", markup=False)
    sys.exit(code if isinstance(code, int) else OK)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        out.print(f"leosim {leosim.__version__}")
        raise typer.Exit(OK)


def _load(source: str, element_files: list[Path] | None, settings: list[str] | None, seed: int | None) -> Any:
    """A scenario with the changes of the command line; paths given there start from the current folder."""
    path = scenario.find_scenario(source)
    data = scenario.read_toml(path)
    for assignment in settings or []:
        scenario.set_key(data, assignment)
    if element_files:
        data.setdefault("elements", {})["file"] = [str(f.resolve()) for f in element_files]
    if seed is not None:
        data["seed"] = seed
    return scenario.load_scenario(data, base=path.parent.resolve(), name=path.stem, label=path.name)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[simulation.Progress], None]]:
    """A progress bar on stderr: epoch, simulated time, real-time factor, and what each service has done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=8),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(name, total=None, state="preparing (a first run compiles, too)")

        def show(p: simulation.Progress) -> None:
            state = _state(p, err.width >= 110)
            if p.doing in ("run", "take"):
                bar.update(task, completed=p.epoch, total=p.epochs if p.doing == "run" else p.logged, state=state)
            else:
                bar.update(task, completed=100 * p.share, total=100, state=state)

        yield show


def _state(p: simulation.Progress, wide: bool) -> str:
    """How far a run is, in words that fit."""
    times, per, changes = ("x real time", "bit/s/Hz", "handovers") if wide else ("x", "b/s/Hz", "HO")
    if p.doing == "copy":
        return f"resuming: copying {p.logged} logged epochs, {100 * p.share:.0f} %"
    if p.doing == "take":
        return f"resuming: taking epoch {p.epoch} of {p.logged} logged"
    if p.doing == "pack":
        return f"compressing the log, {100 * p.share:.0f} %"
    state = f"{p.epoch}/{p.epochs} {p.simulated_s:.0f} s {p.real_time_factor:.1f}{times}"
    if p.min_rate is not None:
        return f"{state} min {p.min_rate:.2f} {per} {p.handovers} {changes}"
    done = {"dwells": p.dwells, "fixes": p.fixes}
    return " ".join([state, *(f"{count} {name}" for name, count in done.items() if count is not None)])


@contextmanager
def _stoppable() -> Iterator[Callable[[], AbstractContextManager[stopping.Stop]]]:
    """Ctrl-C and SIGTERM stop what is done in the body: a preparation at once, a run after its epoch.

    Gives the context in which they wait for the epoch. A second one ends the process at once, as a kill does:
    every prefix of the writes of a log is a log.
    """

    try:
        with stopping.on_signals(signal.SIGTERM, noted=stopping.at_once):
            yield partial(stopping.on_signals, signal.SIGINT, signal.SIGTERM, noted=_hint, again=_leave)
    except simulation.Stopped as stop:
        err.print(f"leosim: {stop}; the same command with --resume goes on", markup=False, soft_wrap=True)
        raise SystemExit(STOPPED) from None
    except KeyboardInterrupt:
        err.print(
            "leosim: stopped before the first epoch; nothing was written, the same command starts again", soft_wrap=True
        )
        raise SystemExit(STOPPED) from None


def _hint() -> None:
    """What a first Ctrl-C does; past the console, which may be in the middle of a line."""
    os.write(2, b"\nleosim: stopping after this epoch; once more stops at once\n")


def _leave() -> None:
    """End the process without another step, the cursor shown again."""
    err.show_cursor(True)
    os.write(2, b"\nleosim: stopped at once; the same command with --resume goes on\n")
    os._exit(STOPPED)


def _run(
    chosen: scenario.Scenario, output: Path | None, workers: int, resume: bool, force: bool
) -> tuple[Log, float | None]:
    """Prepare, warn, run with a progress bar; the real-time factor is None when the log was there already."""
    factor: list[float] = []
    with _stoppable() as stop, _progress(chosen.name) as show:
        ready = simulation.prepare(chosen)
        for warning in ready.warnings:
            err.print(f"leosim: warning: {warning}", markup=False, soft_wrap=True)
        if resume and output is None and not ready.default_output.exists():
            beside = unfinished_beside(ready.default_output, chosen.name)
            if beside is not None:
                text = f"{beside} is unfinished, but of other inputs; with -o {beside} this command says which"
                err.print(f"leosim: nothing to resume, a new log begins: {text}", markup=False, soft_wrap=True)
        refused = ready.quarantine.sat.size
        if refused:
            err.print(f"leosim: {refused} element sets or satellites in quarantine (leosim info names them)")

        def note(p: simulation.Progress) -> None:
            if p.doing == "run":
                factor[:] = [p.real_time_factor]
            show(p)

        with stop() as asked:
            log = simulation.run(chosen, output, None, workers, resume, force, note, ready, asked)
    return log, factor[0] if factor else None


@app.command()
def run(
    source: ScenarioArgument,
    element_files: ElementsOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    output: OutputOption = None,
    workers: WorkersOption = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a run that was cut short")] = False,
    force: Annotated[bool, typer.Option("--force", help="overwrite the log that is there")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a scenario into a log and print its summary."""
    log, factor = _run(_load(source, element_files, settings, seed), output, workers, resume, force)
    if factor is None:
        err.print(f"leosim: already there: {log.path} (--force runs it again)", markup=False, soft_wrap=True)
    _print_summary(log, as_json, factor)


@app.command()
def demo(output: OutputOption = None, workers: WorkersOption = 1) -> None:
    """Run the shipped scenario, or go on with it: log, summary and figures."""
    log, factor = _run(scenario.load_scenario("demo"), output, workers, resume=True, force=False)
    _print_summary(log, False, factor)
    for kind in figures.kinds(log):
        out.print(str(figures.plot(log, kind, log.path.with_name(f"{log.path.stem}-{kind}.png"))))


def _print_summary(log: Log, as_json: bool, factor: float | None) -> None:
    found = summary(log)
    if as_json:
        data = {"log": str(log.path), **found.as_dict()}
        out.print(json.dumps(data if factor is None else {**data, "real_time_factor": factor}), markup=False)
        return
    out.print(str(found), markup=False)
    if factor is not None:
        out.print(f"{factor:.1f} times real time", markup=False)
    out.print(f"log: {log.path}", markup=False)


@app.command()
def validate(
    source: ScenarioArgument,
    element_files: ElementsOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a scenario before it runs: resolved keys, link budget, satellites in view, time and size."""
    chosen = _load(source, element_files, settings, seed)
    ready = simulation.prepare(chosen)
    for warning in ready.warnings:
        err.print(f"leosim: warning: {warning}", markup=False, soft_wrap=True)
    forecast = simulation.forecast(ready)
    budgets = {}
    if ready.settings.communicates:
        budgets["link_budget"] = _budget(ready, partial(channel.link_budget, ready.world.radio))
    if ready.sensing is not None:
        budgets["sensing_budget"] = _budget(ready, partial(sensing.link_budget, ready.sensing))
    if ready.localisation is not None:
        budgets["localisation_budget"] = _budget(
            ready, partial(localisation.link_budget, ready.localisation), ready.localisation.mask_rad
        )
    if as_json:
        out.print(json.dumps({"scenario": chosen.as_dict(), "forecast": forecast, **budgets}), markup=False)
        return
    out.print(scenario.to_toml(chosen.as_dict()), markup=False)
    for name, rows in budgets.items():
        table = Table(name.replace("_", " "), *(row["elevation"] for row in rows), box=None)
        for key in [k for k in rows[0] if k != "elevation"]:
            table.add_row(key, *(f"{row[key]:.1f}" for row in rows))
        out.print(table)
    for key, value in forecast.items():
        out.print(f"{key.replace('_', ' ')}: {value}", markup=False)


def _budget(
    ready: simulation.Prepared, budget: Callable[[float, float], dict[str, float]], mask_rad: float | None = None
) -> list[dict[str, Any]]:
    """A link budget of altitude (m) and elevation (degrees) at the mask, by default the users', and at zenith."""
    seen = ready.prepass.ever_in_view
    c = ready.constellation
    altitude_m = float((c.perigee_m[seen] + c.apogee_m[seen]).mean() / 2)
    mask_deg = float(rad_to_deg(ready.users.mask_rad.min() if mask_rad is None else mask_rad))
    return [{"elevation": f"{degrees:g} deg", **budget(altitude_m, degrees)} for degrees in (mask_deg, 90.0)]


@app.command()
def info(
    path: LogArgument,
    users: Annotated[bool, typer.Option("--users", help="rates and handovers of each user")] = False,
    sensing_too: Annotated[bool, typer.Option("--sensing", help="the dwells over time")] = False,
    localisation_too: Annotated[bool, typer.Option("--localisation", help="the fixes over time")] = False,
    timing: Annotated[bool, typer.Option("--timing", help="wall time of each stage")] = False,
    cite: Annotated[bool, typer.Option("--cite", help="how to cite leosim and the design the run used")] = False,
    as_json: JsonOption = False,
) -> None:
    """What is in a log: summary, provenance, quarantine."""
    with open_log(path) as log:
        if users and not has_communication(log):
            raise typer.BadParameter(f"{path} has no rates; only a scenario with [communication] makes them")
        if sensing_too and not has_sensing(log):
            raise typer.BadParameter(f"{path} has no dwells; only a scenario with [sensing] and [isac] makes them")
        if localisation_too and not has_localisation(log):
            raise typer.BadParameter(f"{path} has no fixes; only a scenario with [localisation] makes them")
        found = summary(log)
        refused = log.quarantine.to_dataframe() if "quarantine" in log else None
        if as_json:
            data = {
                "log": str(path),
                "complete": log.complete,
                **found.as_dict(),
                "rows": log.committed_rows,
                "digest": log.digest(),
                "attributes": {k: v for k, v in log.attributes.items() if not k.endswith("_source")},
                "quarantine": [] if refused is None else refused.astype(str).to_dict("records"),
            }
            if timing:
                data["timing"] = json.loads(stages(log).to_json(orient="index"))
                data["real_time_factor"] = real_time_factor(log)
            if users:
                data["users_table"] = json.loads(per_user(log).to_json(orient="index"))
            if has_events(log):
                data["events_table"] = json.loads(event_table(log).to_json(orient="records"))
            if sensing_too:
                data["sensing_table"] = json.loads(sensing_table(log).to_json(orient="records"))
            if localisation_too:
                data["localisation_table"] = json.loads(localisation_table(log).to_json(orient="records"))
            out.print(json.dumps(data), markup=False)
            return
        out.print(str(found), markup=False)
        if not log.complete:
            out.print(f"not complete: {found.epochs} of {log.attributes['epochs']} epochs; leosim run --resume goes on")
        for word, source in _element_files(log):
            out.print(
                f"{word}: {source['file']} ({source['format']}, {source['records']} sets, median epoch "
                f"{source['median_epoch']}, SHA-256 {source['sha256'][:12]})",
                markup=False,
            )
        if refused is not None and len(refused):
            out.print(f"quarantine: {len(refused)}")
            for row in refused.head(20).itertuples():
                out.print(f"  {row.name} ({row.sat}), {row.file}:{row.line}: {row.reason}", markup=False)
            if len(refused) > 20:
                out.print(f"  and {len(refused) - 20} more (--json lists all)")
        if has_events(log):
            out.print(_event_text(event_table(log)), markup=False)
        out.print(f"leosim {log.attributes['leosim_version']}, digest {log.digest()[:16]}")
        if users:
            out.print(_users_table(log), markup=False)
        if sensing_too:
            out.print(_sensing_table(log), markup=False)
        if localisation_too:
            out.print(_localisation_table(log), markup=False)
        if timing:
            out.print(_stages_table(log), markup=False)
        if cite:
            services = {"isac": CITATION_SENSING, "ical": CITATION_LOCALISATION}
            used = [CITATION, *(text for group, text in services.items() if group in log.groups)]
            out.print("\n".join(used), markup=False)


USER_COLUMNS = {
    "hardening_least_bit_s_hz": "least rate (bit/s/Hz)",
    "hardening_median_bit_s_hz": "median rate",
    "soft_per_minute": "soft a min",
    "hard_per_minute": "hard a min",
    "beam_per_minute": "beam a min",
    "joins_per_minute": "joins a min",
    "leaves_per_minute": "leaves a min",
    "ping_pongs": "ping-pongs",
    "stay_s": "mean stay (s)",
    "outage_s": "outage (s)",
}


def _users_table(log: Log) -> str:
    table = per_user(log)[list(USER_COLUMNS)].rename(columns=USER_COLUMNS)
    return table.to_string(float_format="{:.3g}".format, na_rep="-")


def _element_files(log: Log) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files of elements that were flown, then those that were believed during faults."""
    for name, text in log.attributes.items():
        if name == "elements" or name.startswith("old_elements_"):
            for source in json.loads(str(text)):
                yield "elements" if name == "elements" else "old elements", source


EVENTS_SHOWN = 30


def _event_text(table: pd.DataFrame) -> str:
    """What faults did over time, as far as it fits."""
    if not len(table):
        return "events: none"
    shown = (
        table.head(EVENTS_SHOWN)
        .rename(columns={"t_s": "time (s)"})
        .to_string(index=False, float_format="{:.6g}".format)
    )
    return shown + (f"\nand {len(table) - EVENTS_SHOWN} more (--json lists all)" if len(table) > EVENTS_SHOWN else "")


SENSING_COLUMNS = {
    "t_s": "time (s)",
    "satellite": "satellite",
    "elevation_deg": "elevation (deg)",
    "changes": "changes",
    "target": "target",
    "target_range_km": "target (km)",
    "min_rate_bit_s_hz": "least rate (bit/s/Hz)",
    "cross_range_asked_m": "asked (m)",
    "cross_range_m": "met (m)",
    "power_needed_w": "needed (W)",
    "status": "status",
}


def _sensing_table(log: Log) -> str:
    """The dwells over time; the name of the target only where there are several."""
    table = sensing_table(log)
    left = [name for name in SENSING_COLUMNS if name != "target" or table.target.nunique() > 1]
    shown = table[left].rename(columns=SENSING_COLUMNS)
    return shown.to_string(index=False, float_format=_three_digits, na_rep="-")


LOCALISATION_COLUMNS = {
    "t_s": "time (s)",
    "satellite": "anchor",
    "changes": "changes",
    "rate_bit_s_hz": "sum rate (bit/s/Hz)",
    "bound_m": "bound (m)",
    "error_m": "error (m)",
    "largest_error_m": "largest (m)",
    "nees_3": "NEES/3",
    "fixed": "fixed",
    "refused": "refused",
    "outliers": "flagged",
    "without": "without",
}


def _localisation_table(log: Log) -> str:
    shown = localisation_table(log).rename(columns=LOCALISATION_COLUMNS)
    return shown.to_string(index=False, float_format=_three_digits, na_rep="-")


def _three_digits(value: float) -> str:
    """Three digits, more where whole numbers have them: never 1.2e+03."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


CITATION = """leosim: an orbit-driven system simulator of LEO mega-constellations (see CITATION.cff).
Cell-free clusters: S. Kim, Y. Wu, B. Shim, M. Z. Win, "Cell-free massive non-terrestrial networks",
IEEE Journal on Selected Areas in Communications, 2024."""
CITATION_LOCALISATION = """Localisation while serving: L. You, X. Qiang, Y. Zhu et al., "Integrated communications and
localization for massive MIMO LEO satellite systems", IEEE Transactions on Wireless Communications, 2024."""
CITATION_SENSING = """Sensing by rate splitting: J. Park, J. Seong, J. Ryu, Y. Mao, W. Shin, "A bistatic ISAC framework
for LEO satellite systems: a rate-splitting approach", 2024."""


STAGE_COLUMNS = {
    "total_s": "total (s)",
    "share": "share (%)",
    "median_ms": "median (ms)",
    "p95_ms": "95 % (ms)",
    "slowest_ms": "slowest (ms)",
    "slowest_epoch": "in epoch",
}


def _stages_table(log: Log) -> str:
    """Wall time of the stages, and how fast the run was."""
    table = stages(log)
    shown = table.assign(share=100 * table.share)[list(STAGE_COLUMNS)].rename(columns=STAGE_COLUMNS)
    wall_s = float(table["total_s"][ALL])
    return (
        f"{shown.to_string(float_format=_three_digits)}\n"
        f"{len(log.timing)} epochs in {wall_s:.1f} s: {real_time_factor(log):.1f} times real time"
    )


@app.command()
def plot(
    path: LogArgument,
    kinds: Annotated[
        list[str] | None, typer.Argument(help=f"of {', '.join(figures.KINDS)}; all it has data for when left out")
    ] = None,
    style: Annotated[str, typer.Option("--style", help=f"one of {', '.join(figures.STYLES)}")] = "default",
    output: OutputOption = None,
    user: Annotated[str | None, typer.Option("--user", help="name or row of a user, for serving and sky")] = None,
    t_s: Annotated[
        float | None, typer.Option("--t-s", help="instant for sky, beams and timeline (s since the start)")
    ] = None,
) -> None:
    """Draw figures from a log, as PNG, PDF or SVG by the ending of -o."""
    unknown = set(kinds or ()) - set(figures.KINDS)
    if unknown:
        raise typer.BadParameter(f"expected figures of {', '.join(figures.KINDS)}, got {', '.join(sorted(unknown))}")
    with open_log(path) as log:
        chosen = tuple(kinds or figures.kinds(log))
        for kind in chosen:
            target = output or path.with_name(f"{path.stem}-{kind}.png")
            if output is not None and len(chosen) > 1:
                target = output.with_name(f"{output.stem}-{kind}{output.suffix}")
            options: dict[str, Any] = {}
            if user is not None and kind in ("serving", "sky"):
                options["user"] = int(user) if user.isdigit() else user
            if t_s is not None and kind in ("sky", "beams", "timeline"):
                options["t_s"] = t_s
            try:
                written = figures.plot(log, kind, target, style, **options)
            except ValueError as error:
                raise typer.BadParameter(str(error)) from None
            out.print(str(written), markup=False)


@app.command()
def replay(
    path: LogArgument,
    verify: Annotated[bool, typer.Option("--verify", help="recompute every row and compare it bit for bit")] = False,
    settings: SetOption = None,
    output: OutputOption = None,
    element_files: Annotated[
        list[Path] | None, typer.Option("--elements", help="where the element file of the log is; repeatable")
    ] = None,
    workers: WorkersOption = 1,
    force: Annotated[bool, typer.Option("--force", help="overwrite the log that is there")] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify a log, or decide it anew with other settings without propagating again."""
    if verify == bool(settings):
        raise typer.BadParameter("expected either --verify or --set TABLE.KEY=VALUE (with -o NEW)")
    with open_log(path) as log, _progress(path.stem) as show:
        if not verify:
            new = replays.replay(log, settings or [], output, element_files or (), workers, force, show)
        else:
            found = verification.verify(log, element_files or (), workers, show)
    if verify:
        out.print(json.dumps(found.as_dict()) if as_json else "\n".join(found.lines()), markup=False)
        raise typer.Exit(OK if found.passed else DIFFERS)
    err.print(f"leosim: copied: {new.attributes.get('replay_copied', 'nothing')}", markup=False, soft_wrap=True)
    _print_summary(new, as_json, None)


@app.command()
def compare(
    paths: Annotated[list[Path], typer.Argument(metavar="LOG LOG...", help="two or more logs")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a figure: PNG, PDF or SVG by its ending")
    ] = None,
    style: Annotated[str, typer.Option("--style", help=f"one of {', '.join(figures.STYLES)}")] = "default",
    as_json: JsonOption = False,
) -> None:
    """Which settings of logs differ, and their metrics epoch by epoch, with confidence intervals."""
    with ExitStack() as stack:
        logs = [stack.enter_context(open_log(path)) for path in paths]
        try:
            found = comparison.compare(logs)
            if output is not None:
                err.print(f"leosim: {found.plot(output, style)}", markup=False, soft_wrap=True)
        except ValueError as error:
            if isinstance(error, LogError):
                raise
            raise typer.BadParameter(str(error)) from None
    out.print(json.dumps(found.as_dict()) if as_json else str(found), markup=False)


@app.command()
def reproduce(
    paper: Annotated[str | None, typer.Argument(metavar="PAPER", help="such as kim2024")] = None,
    listing: Annotated[bool, typer.Option("--list", help="list papers and their figures")] = False,
    figure: Annotated[list[int] | None, typer.Option("--figure", help="a figure's number; repeatable")] = None,
    drops: Annotated[
        int | None, typer.Option("--drops", min=2, help="random drops to average over, by default 40 (you2024: 4)")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of the drops")] = 1,
    settings: Annotated[list[str] | None, typer.Option("--set", help="a reading, such as array=nadir")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="processes; the data are the same")] = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="folder, by default outputs/PAPER")] = None,
    style: Annotated[str, typer.Option("--style", help=f"one of {', '.join(figures.STYLES)}")] = "default",
    as_json: JsonOption = False,
) -> None:
    """Make a paper's figures again: data, drawings, and what it claims against what comes out here."""
    if listing:
        _print_papers(figures_too=True)
        return
    if style not in figures.STYLES:
        raise typer.BadParameter(f"style: expected one of {', '.join(figures.STYLES)}, got {style!r}")
    if paper is None:
        raise typer.BadParameter(f"expected a paper: {', '.join(papers.names())}")
    try:
        module, reading = papers.load(paper), papers.reading(paper, settings or [])
        numbers = papers.chosen(paper, figure or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    drops = drops or int(module.DROPS)
    folder = output if output is not None else Path("outputs") / paper
    note = ", ".join(f"{key} {value}" for key, value in dataclasses.asdict(reading).items())
    tables, files = {}, []
    bar_columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total}"),
    )
    with Bar(*bar_columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal) as bar:
        for number in numbers:
            task = bar.add_task(f"Fig. {number}, drops", total=drops if module.FIGURES[number].random else 1)

            def show(done: int, task: Any = task) -> None:
                bar.update(task, completed=done)

            tables[number] = papers.run(paper, number, drops, seed, workers, show, reading)
            files.append(papers.write(paper, number, tables[number], folder, reading, style))
    verdicts = papers.judge(paper, tables)
    files.append(papers.write_claims(verdicts, folder))
    if as_json:
        rows = [verdict.as_dict() for verdict in verdicts]
        data = {
            "paper": paper,
            "drops": drops,
            "seed": seed,
            "reading": dataclasses.asdict(reading),
            "claims": rows,
            "files": list(map(str, files)),
        }
        out.print(json.dumps(data), markup=False)
        return
    out.print(f"{module.CITATION}\n{drops} drops, seed {seed}, {note}\n", markup=False)
    table = Table("", "claim", "paper", "here", "verdict", box=None, pad_edge=False)
    for verdict in verdicts:
        table.add_row(verdict.claim.where, verdict.claim.text, verdict.claim.paper, verdict.here, verdict.verdict)
    out.print(table)
    for verdict in verdicts:
        if verdict.reason:
            out.print(f"\n{verdict.claim.where}, {verdict.claim.text}: {verdict.reason}", markup=False)
    out.print("\n" + "\n".join(map(str, files)), markup=False)


@app.command()
def trade(
    source: ScenarioArgument,
    knobs: Annotated[
        list[str] | None, typer.Option("--knob", help=f"of {', '.join(trades.KNOBS)}; repeatable; all when left out")
    ] = None,
    values: Annotated[
        str | None, typer.Option("--values", help="of one knob, such as 10,20,40 (SI); else multiples of its value")
    ] = None,
    duration_s: Annotated[float, typer.Option("--duration", help="length of each run (s)")] = trades.DURATION_S,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="seeds of each value, the same for all")] = trades.SEEDS,
    element_files: ElementsOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="processes; the data are the same")] = 1,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="stem of the files, by default outputs/trade-SCENARIO")
    ] = None,
    style: Annotated[str, typer.Option("--style", help=f"one of {', '.join(figures.STYLES)}")] = "default",
    as_json: JsonOption = False,
) -> None:
    """Joint trade curves: rate against target error against position error, over the values of a few knobs."""
    chosen = _load(source, element_files, settings, seed)
    if style not in figures.STYLES:
        raise typer.BadParameter(f"style: expected one of {', '.join(figures.STYLES)}, got {style!r}")
    try:
        given = [float(value) for value in values.split(",")] if values else []
    except ValueError:
        raise typer.BadParameter(f"values: expected numbers such as 10,20,40, got {values!r}") from None
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.completed}/{task.total}"))
    with Bar(*columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("runs", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        table = trades.trade(chosen, knobs or (), given, duration_s, seeds, workers, show)
    stem = output if output is not None else Path("outputs") / f"trade-{chosen.name}"
    files = trades.write(table, stem, f"Trades: {chosen.title or chosen.name}", style)
    if as_json:
        rows = json.loads(table.to_json(orient="records"))
        out.print(json.dumps({"rows": rows, "files": list(map(str, files))}), markup=False)
        return
    out.print(_trade_table(table), markup=False)
    out.print("\n".join(map(str, files)), markup=False)


TRADE_COLUMNS = {
    "value": "value",
    "least_rate_bit_s_hz": "least rate",
    "sensing_rate_bit_s_hz": "sensing rate",
    "ical_rate_bit_s_hz": "sum rate",
    "target_rmse_m": "target (m)",
    "dwells_met": "met (%)",
    "fix_rmse_m": "fixes (m)",
    "fix_bound_m": "bound (m)",
    "array_share": "array (%)",
}


def _trade_table(table: pd.DataFrame) -> str:
    """Means over the seeds, with the halves of their intervals where there are several seeds."""
    found = trades.means(table)
    shown = pd.DataFrame({"knob": found["knob"]})
    for name, title in TRADE_COLUMNS.items():
        scale = 100.0 if title.endswith("(%)") else 1.0
        shown[title] = [f"{value:g}" if name == "value" else _three_digits(scale * value) for value in found[name]]
        if name != "value" and table["seed"].nunique() > 1:
            halves = [_three_digits(scale * half) for half in found[f"{name}_half"]]
            shown[title] = [f"{value} ± {half}" for value, half in zip(shown[title], halves, strict=True)]
    return shown.drop(columns=[c for c in shown if shown[c].str.contains("nan").all()]).to_string(index=False)


def _print_papers(figures_too: bool = False) -> None:
    for name in papers.names():
        module = papers.load(name)
        out.print(f"{name:<16} {module.CITATION}", markup=False)
        for number, made in module.FIGURES.items() if figures_too else ():
            out.print(f"  --figure {number:<5} {made.plot.title}", markup=False)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="file to write")] = Path("scenario.toml"),
    source: Annotated[str, typer.Option("--from", help="a shipped scenario to start from")] = "demo",
) -> None:
    """Write a commented scenario to start from, and the schema editors check it against."""
    if path.exists():
        raise typer.BadParameter(f"{path} is there already; choose another name")
    text = scenario.find_scenario(source).read_text().replace('"../tle/', '"')
    schema = path.with_name("leosim.schema.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    schema.write_text(json.dumps(scenario.Scenario.model_json_schema(), indent=1) + "\n")
    path.write_text(f"#:schema ./{schema.name}\n{text}")
    out.print(f"{path}\n{schema}", markup=False)


@app.command("list")
def list_(what: Annotated[str, typer.Argument(help="scenarios, algorithms, papers or keys")]) -> None:
    """List shipped scenarios, algorithms, papers to reproduce, or every key of a scenario."""
    if what == "scenarios":
        for path in sorted(scenario.shipped("scenarios").glob("*.toml")):
            out.print(f"{path.stem:<16} {scenario.read_toml(path).get('title', '')}", markup=False)
    elif what == "algorithms":
        for folder in scenario.ALGORITHM_FOLDERS:
            for name in scenario.algorithms(folder):
                module = scenario.load_algorithm(folder, name)
                out.print(f"{folder:<12} {name:<16} {(module.__doc__ or '').splitlines()[0]}", markup=False)
    elif what == "keys":
        rows = scenario.list_keys()
        wide = max(len(key) for key, _, _ in rows)
        for key, default, meaning in rows:
            out.print(f"{key:<{wide}}  {default:<14}  {meaning}", markup=False)
    elif what == "papers":
        _print_papers()
    else:
        raise typer.BadParameter(f"expected scenarios, algorithms, papers or keys, got {what!r}")


@elements_app.command("check")
def elements_check(
    files: Annotated[list[Path], typer.Argument(help="element files")],
    include: Annotated[list[str] | None, typer.Option("--include", help='name pattern, such as "STARLINK*"')] = None,
    as_json: JsonOption = False,
) -> None:
    """What is in element files: counts, epochs, shells, and every record refused with its reason."""
    constellation = elements.read_elements(files, include or ())
    report = elements.check_report(constellation)
    if as_json:
        out.print(json.dumps(report), markup=False)
        return
    for file in report["files"]:
        out.print(
            f"{file['file']}: {file['format']}, {file['records']} read, {file['rejected']} refused, "
            f"SHA-256 {file['sha256'][:12]}",
            markup=False,
        )
    epochs = {name: text[:16].replace("T", " ") for name, text in report["epoch"].items()}
    out.print(f"satellites: {report['satellites']}, numbered 100000 or above: {report['numbers_from_100000']}")
    out.print(f"epochs: {epochs['min']} to {epochs['max']} UTC, median {epochs['median']}")
    fullest = sorted(report["shells"], key=lambda x: -x["satellites"])[:8]
    shells = [f"{x['from_km']:.0f}-{x['to_km']:.0f} km: {x['satellites']}" for x in fullest]
    others = report["satellites"] - report["above_2000_km"] - sum(x["satellites"] for x in fullest)
    out.print(
        f"fullest shells: {', '.join(shells)}; others up to 2000 km: {others}, above: {report['above_2000_km']}",
        markup=False,
    )
    reasons = ", ".join(f"{reason}: {count}" for reason, count in dict(report["quarantine_reasons"]).items())
    out.print(f"quarantine: {report['quarantined']}{f' ({reasons})' if reasons else ''}", markup=False)
    q = constellation.quarantine
    for i in range(min(20, q.sat.size)):
        out.print(f"  {q.file[i]}:{q.line[i]}: {q.name[i]}: {q.reason[i]}", markup=False)
    if q.sat.size > 20:
        out.print(f"  and {q.sat.size - 20} more")


@elements_app.command("walker")
def elements_walker(
    pattern: Annotated[str, typer.Argument(help="inclination:satellites/planes/phasing, such as 53:1584/72/39")],
    altitude_km: Annotated[float, typer.Option("--altitude-km", help="height over the equatorial radius (km)")],
    epoch: Annotated[str, typer.Option("--epoch", help="date and time with zone, such as 2026-08-22T00:00:00Z")],
    kind: Annotated[str, typer.Option("--kind", help="delta or star")] = "delta",
    output: OutputOption = None,
) -> None:
    """Make a Walker constellation as a 3LE file (or OMM CSV, by the ending .csv of -o)."""
    try:
        made = walkers.walker(pattern, altitude_km, datetime.fromisoformat(epoch), kind)  # type: ignore[arg-type]
        rows = made.rows()
        text = omm.format_omm_csv(rows) if output and output.suffix == ".csv" else tle.format_tle(rows)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if output is None:
        sys.stdout.write(text)
        return
    output.write_text(text)
    out.print(f"{output}: {len(made)} satellites", markup=False)


if __name__ == "__main__":
    main()
