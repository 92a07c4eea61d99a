"""What a run comes to, in numbers: rates, handovers, outage and solver, of all users and of each."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from leosim import handover
from leosim.log import Log
from leosim.records import SERVED, SOLVER_STATUS, USER_STATUS
from leosim.report.about import algorithm, end_ns, epochs_ns, has_communication, scenario, step_ns
from leosim.report.dwells import SensingSummary, has_sensing, sensing_summary
from leosim.report.events import event_counts, event_rows, has_events
from leosim.report.localised import LocalisationSummary, has_localisation, localisation_summary
from leosim.report.tracks import TrackSummary, has_tracks, track_summary
from leosim.units import ns_to_s

LOW_SHARE = 0.05  # of the user-epochs: the "5 % rate"


# ---------------------------------------------------------------------------------------------
# What a log says, as reports need it


def decisions(log: Log) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The decisions that took effect before the end: when (ns), and their pairs.

    Returns effective_ns : [decision]; decision, user, sat : [pair] row in effective_ns, row of the user,
    catalogue number.
    """
    clusters = log["clusters"]
    effective_ns = clusters["effective_t_ns"]
    count = int(np.searchsorted(effective_ns, end_ns(log)))
    decision = np.repeat(np.arange(len(clusters)), clusters.size("pair"))
    keep = decision < count
    return effective_ns[:count], decision[keep], clusters["user"][keep], clusters["sat"][keep]


def in_force(log: Log, t_ns: np.ndarray) -> np.ndarray:
    """The row of the decision in force at each time; -1 before the first: [time] int."""
    return np.searchsorted(log["clusters"]["effective_t_ns"], t_ns, side="right") - 1


def serving_sets(log: Log, users: np.ndarray | None = None) -> tuple[np.ndarray, list[list[handover.Serving]]]:
    """When each decision took effect (ns), and the serving set it gave each user (all, or the rows asked for)."""
    effective_ns, decision, user, sat = decisions(log)
    spot = log["clusters"]["spot"][: decision.size]
    if users is not None:
        place = np.full(len(log["users"]), -1)
        place[users] = np.arange(len(users))
        keep = place[user] >= 0
        decision, user, sat, spot = decision[keep], place[user[keep]], sat[keep], spot[keep]
    count = len(log["users"]) if users is None else len(users)
    edges = np.searchsorted(decision, np.arange(effective_ns.size + 1))
    return effective_ns, [
        handover.serving_sets(user[a:b], sat[a:b], count, spot[a:b]) for a, b in pairwise(edges.tolist())
    ]


def unserved(log: Log) -> np.ndarray:
    """The status the decision in force at the beginning of each epoch gives each user: [epoch, user].

    SERVED where no decision is in force yet.
    """
    status, rows = log["clusters"]["status"], in_force(log, log["rates"].t_ns)
    found: np.ndarray = np.where(rows[:, None] >= 0, status[rows.clip(min=0)], SERVED)
    return found


# ---------------------------------------------------------------------------------------------
# All users


@dataclass(frozen=True)
class RateSummary:
    """Least, 5 %, median and mean rate over all user-epochs, and the mean of the sum over users (bit/s/Hz)."""

    least: float
    low: float
    median: float
    mean: float
    mean_sum: float


@dataclass(frozen=True)
class CommunicationSummary:
    """The communication service of a run in numbers; rates in bit/s/Hz.

    Counts `_per_user_minute` are over all users and the whole run.
    solver : share of the decisions with each status; worst_gap : largest certified distance of the least rate
    from its bound for the chosen serving sets, None when no decision has a certificate; waiting : users
    without room under K_max in a decision, mean; longest_wait : decisions in a row; bottleneck : the user named
    in most decisions, None when none is named, in what share of them, the mean least rate of the node there, and
    what it would be without that user, None when unknown; stay_s : mean of the
    stays seen from begin to end, None without one; jaccard : mean overlap of consecutive serving sets;
    user_epochs : users times epochs; unserved : user-epochs declared unserved, by reason.
    """

    coherence: str
    beamforming: str
    clustering: str
    hardening: RateSummary
    ergodic: RateSummary
    soft_per_user_minute: float
    hard_per_user_minute: float
    beam_per_user_minute: float
    joins_per_user_minute: float
    leaves_per_user_minute: float
    beam_changes_per_user_minute: float
    accesses: int
    drops: int
    ping_pongs: int
    ping_pong_window_s: float
    stay_s: float | None
    jaccard: float
    outage_s: float
    outage_s_per_user_minute: float
    outage_percent: float
    interruption_s: float
    interruption_s_per_user_minute: float
    interruption_percent: float
    decisions: int
    solver: dict[str, float]
    worst_gap: float | None
    user_epochs: int
    unserved: dict[str, int]
    waiting: float
    longest_wait: int
    bottleneck: str | None
    bottleneck_share: float
    bottleneck_rate: float
    rate_without: float | None

    def rows(self) -> list[tuple[str, str]]:
        """A table for people: what, and how much with its unit."""
        out = (
            f"{self.outage_s:.3g} s ({self.outage_percent:.3g} %), {self.outage_s_per_user_minute:.3g} s a user-minute"
        )
        interrupted = (
            f"{self.interruption_s:.3g} s ({self.interruption_percent:.3g} %), "
            f"{self.interruption_s_per_user_minute:.3g} s a user-minute"
        )
        solver = ", ".join(f"{100 * share:.3g} % {name}" for name, share in self.solver.items())
        gap = "none certified" if self.worst_gap is None else f"{self.worst_gap:.2g} bit/s/Hz"
        unserved_text = ", ".join(f"{count} ({reason})" for reason, count in self.unserved.items()) or "0"
        return [
            ("coherence", self.coherence),
            ("algorithms", f"{self.clustering} clustering, {self.beamforming} beamforming"),
            ("hardening rate", _rate_text(self.hardening)),
            ("ergodic rate", _rate_text(self.ergodic)),
            ("mean sum rate", f"{self.hardening.mean_sum:.4g} hardening, {self.ergodic.mean_sum:.4g} ergodic bit/s/Hz"),
            (
                "handovers",
                f"{self.soft_per_user_minute:.3g} soft, {self.hard_per_user_minute:.3g} hard, "
                f"{self.beam_per_user_minute:.3g} of the beam alone a user-minute; "
                f"{_count(self.accesses, 'access', 'accesses')}, {_count(self.drops, 'drop', 'drops')}",
            ),
            (
                "satellites a user",
                f"{self.joins_per_user_minute:.3g} join, {self.leaves_per_user_minute:.3g} leave, "
                f"{self.beam_changes_per_user_minute:.3g} change their beam a user-minute",
            ),
            ("ping-pongs", f"{self.ping_pongs} (back within {self.ping_pong_window_s:g} s)"),
            ("mean stay", "none complete" if self.stay_s is None else f"{self.stay_s:.3g} s"),
            ("set overlap", f"{self.jaccard:.4f} (Jaccard, consecutive decisions)"),
            ("outage", out),
            ("interruption", interrupted),
            ("solver", f"{solver} of {_count(self.decisions, 'decision', 'decisions')}"),
            ("worst gap", gap),
            ("unserved", f"{unserved_text} of {self.user_epochs} user-epochs"),
            ("waiting for room", self._waiting_text()),
            ("bottleneck", self._bottleneck_text()),
        ]

    def _waiting_text(self) -> str:
        if not self.longest_wait:
            return "nobody"
        longest = _count(self.longest_wait, "decision", "decisions")
        return f"{self.waiting:.3g} users on average, longest wait {longest}"

    def _bottleneck_text(self) -> str:
        if self.bottleneck is None:
            return "none named"
        text = f"{self.bottleneck} in {100 * self.bottleneck_share:.3g} % of decisions"
        if self.rate_without is None:
            return text
        return (
            f"{text}; without it the least rate would be {self.rate_without:.3g} "
            f"instead of {self.bottleneck_rate:.3g} bit/s/Hz"
        )


@dataclass(frozen=True)
class Summary:
    """A run in numbers, and each of its services; None for a service that the run did not have.

    surveillance : detection and tracking, which are part of sensing
    events : how often what happened, by fault; None for a scenario without faults
    """

    title: str
    start_utc: str
    duration_s: float
    complete: bool
    epochs: int
    users: int
    satellites: int
    quarantined: int
    communication: CommunicationSummary | None = None
    sensing: SensingSummary | None = None
    surveillance: TrackSummary | None = None
    localisation: LocalisationSummary | None = None
    events: dict[str, dict[str, int]] | None = None

    def as_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON: those of communication beside those of the run, other services by name."""
        found = asdict(self)
        services = {
            name: found.pop(name) for name in ("communication", "sensing", "surveillance", "localisation", "events")
        }
        communication = services.pop("communication") or {}
        return {**found, **communication, **{name: one for name, one in services.items() if one is not None}}

    def rows(self) -> list[tuple[str, str]]:
        """A table for people: what, and how much with its unit."""
        state = "" if self.complete else ", unfinished"
        services = (self.communication, self.sensing, self.surveillance, self.localisation)
        return [
            ("scenario", self.title),
            ("start", f"{self.start_utc} UTC"),
            ("duration", f"{self.duration_s:g} s, {self.epochs} epochs{state}"),
            ("users", f"{self.users}"),
            ("satellites", f"{self.satellites} flown, {self.quarantined} quarantined"),
            *(row for service in services if service is not None for row in service.rows()),
            *([] if self.events is None else event_rows(self.events)),
        ]

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def summary(log: Log) -> Summary:
    """A run in numbers, from its log; of a run that is still going, as far as it is.

    Raises KeyError when the log lacks a group of a run (users, satellites, those of its services).
    """
    epochs = epochs_ns(log)
    return Summary(
        title=str(log.attributes.get("title", log.path.stem)),
        start_utc=str(log.start.astype("datetime64[s]")).replace("T", " "),
        duration_s=ns_to_s(end_ns(log) - int(epochs[0])),
        complete=log.complete,
        epochs=epochs.size,
        users=len(log["users"]),
        satellites=len(log["satellites"]),
        quarantined=len(log["quarantine"]) if "quarantine" in log else 0,
        communication=communication_summary(log) if has_communication(log) else None,
        sensing=sensing_summary(log) if has_sensing(log) else None,
        surveillance=track_summary(log) if has_tracks(log) else None,
        localisation=localisation_summary(log) if has_localisation(log) else None,
        events=event_counts(log) if has_events(log) else None,
    )


def communication_summary(log: Log) -> CommunicationSummary:
    """The communication service of a run in numbers. Raises KeyError when the log lacks a group of it."""
    rates, about = log["rates"], scenario(log)
    users, epochs = len(log["users"]), len(rates)
    duration_s = ns_to_s(end_ns(log) - int(rates.t_ns[0]))
    user_minutes = max(users * duration_s / 60.0, math.ulp(0.0))
    moves, stays = _moves(log)
    whole = stays[stays.begun & stays.ended]
    outage_s, interruption_s = float(rates["outage_s"].sum()), float(rates["interruption_s"].sum())
    status, reasons, waited = log["solver"]["status"], unserved(log), log["clusters"]["waited"]
    gap = _certificate_gaps(log)
    total = moves.sum(numeric_only=True)
    return CommunicationSummary(
        coherence=str(log.attributes.get("coherence", "")),
        beamforming=algorithm(about, "beamforming"),
        clustering=algorithm(about, "clustering"),
        hardening=_rate_summary(rates["hardening"]),
        ergodic=_rate_summary(rates["ergodic"]),
        soft_per_user_minute=float(total.soft) / user_minutes,
        hard_per_user_minute=float(total.hard) / user_minutes,
        beam_per_user_minute=float(total.beam) / user_minutes,
        joins_per_user_minute=float(total.joins) / user_minutes,
        leaves_per_user_minute=float(total.leaves) / user_minutes,
        beam_changes_per_user_minute=float(total.beams) / user_minutes,
        accesses=int(total.access),
        drops=int(total["drop"]),
        ping_pongs=int(total.ping_pongs),
        ping_pong_window_s=ping_pong_window_s(about),
        stay_s=float((whole.end_s - whole.start_s).mean()) if len(whole) else None,
        jaccard=float(moves.jaccard.mean()),
        outage_s=outage_s,
        outage_s_per_user_minute=outage_s / user_minutes,
        outage_percent=100.0 * outage_s / (60.0 * user_minutes),
        interruption_s=interruption_s,
        interruption_s_per_user_minute=interruption_s / user_minutes,
        interruption_percent=100.0 * interruption_s / (60.0 * user_minutes),
        decisions=int(status.size),
        solver={name: float(np.mean(status == code)) for code, name in SOLVER_STATUS.items() if (status == code).any()},
        worst_gap=float(gap.max()) if gap.size else None,
        user_epochs=users * epochs,
        unserved={
            name: int((reasons == code).sum())
            for code, name in USER_STATUS.items()
            if code != SERVED and (reasons == code).any()
        },
        waiting=float((waited > 0).sum(axis=1).mean()),
        longest_wait=int(waited.max(initial=0)),
        **_bottleneck(log),
    )


def _bottleneck(log: Log) -> dict[str, Any]:
    """The user named as bottleneck in most decisions, and what leaving it out would buy there: mean rates."""
    solver, names = log["solver"], log["users"]["name"]
    who = solver["bottleneck"]
    nobody = {"bottleneck": None, "bottleneck_share": 0.0, "bottleneck_rate": 0.0, "rate_without": None}
    if not (who >= 0).any():
        return nobody
    user = int(np.bincount(who[who >= 0], minlength=len(names)).argmax())
    there = who == user
    without, least = solver["without_rate"][there], solver["min_rate"][there]
    known = np.isfinite(without)
    return {
        "bottleneck": str(names[user]),
        "bottleneck_share": float(there.mean()),
        "bottleneck_rate": float(least[known].mean() if known.any() else least.mean()),
        "rate_without": float(without[known].mean()) if known.any() else None,
    }


def ping_pong_window_s(about: dict[str, Any]) -> float:
    """Within what time a satellite that comes back is a ping-pong, as a scenario says (s); 0: never."""
    return float(about.get("handover", {}).get("ping_pong_window_s", 0.0))


def _moves(log: Log) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Handover metrics a user, and the stays behind them."""
    effective_ns, sets = serving_sets(log)
    start, end = int(log["rates"].t_ns[0]), end_ns(log)
    window_s = ping_pong_window_s(scenario(log))
    table = handover.metrics(effective_ns, sets, len(log["users"]), start, end, window_s)
    return table, handover.stays(effective_ns, sets, end)


def _certificate_gaps(log: Log) -> np.ndarray:
    """Upper bound minus least rate of each decision that has a bound (bit/s/Hz)."""
    upper, least = log["solver"]["upper_rate"], log["solver"]["min_rate"]
    certified = np.isfinite(upper)
    gaps: np.ndarray = np.maximum(upper[certified] - least[certified], 0.0)
    return gaps


def _rate_summary(rate: np.ndarray) -> RateSummary:
    least, low, median = np.quantile(rate, [0.0, LOW_SHARE, 0.5]).tolist()
    return RateSummary(least, low, median, float(rate.mean()), float(rate.sum(axis=1).mean()))


def _rate_text(rate: RateSummary) -> str:
    return (
        f"least {rate.least:.3f}, 5 % {rate.low:.3f}, median {rate.median:.3f}, mean {rate.mean:.3f} "
        "bit/s/Hz over user-epochs"
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


# ---------------------------------------------------------------------------------------------
# Each user


def per_user(log: Log) -> pd.DataFrame:
    """A row a user, indexed by name: rates, handovers a minute, stays, outage; units in the names of columns.

    Raises what `summary` raises.
    """
    rates = log["rates"]
    moves, _ = _moves(log)
    columns: dict[str, np.ndarray] = {}
    for kind in ("hardening", "ergodic"):
        rate = rates[kind]
        least, low, median = np.quantile(rate, [0.0, LOW_SHARE, 0.5], axis=0)
        found = {"least": least, "5_percent": low, "median": median, "mean": rate.mean(axis=0)}
        columns |= {f"{kind}_{name}_bit_s_hz": values for name, values in found.items()}
    minutes = moves["minutes"].to_numpy()
    for name in ("soft", "hard", "beam", "joins", "leaves"):
        columns[f"{name}_per_minute"] = moves[name].to_numpy() / minutes
    columns["beam_changes_per_minute"] = moves["beams"].to_numpy() / minutes
    for name in ("access", "drop", "ping_pongs", "stay_s", "jaccard"):
        columns[name] = moves[name].to_numpy()
    columns["outage_s"] = rates["outage_s"].sum(axis=0)
    columns["interruption_s"] = rates["interruption_s"].sum(axis=0)
    columns["unserved_epochs"] = (unserved(log) != SERVED).sum(axis=0)
    return pd.DataFrame(columns, index=pd.Index(log["users"]["name"], name="user"))


__all__ = [
    "RateSummary",
    "Summary",
    "algorithm",
    "decisions",
    "end_ns",
    "in_force",
    "per_user",
    "ping_pong_window_s",
    "scenario",
    "serving_sets",
    "step_ns",
    "summary",
    "unserved",
]
