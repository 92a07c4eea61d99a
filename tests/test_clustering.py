"""Every clustering algorithm keeps the contract; the classical ones do what their settings say."""

import dataclasses
import importlib

import numpy as np
import pytest

from leosim import allocation, couplings, simulation, views
from leosim.processes import view as view_of
from leosim.records import HARD, NO_ROOM, SERVED
from leosim.scenario import algorithms

K_MAX = 2
FULL = 1 + 1e-9


@pytest.fixture(scope="module")
def sky(short):
    """Views of successive instants of a short run, as the central node sees them."""
    scenario = short(60, 6, communication={"channel": "rician"})
    ready = simulation.prepare(scenario)

    def view(t_s, candidates=40):
        s = dataclasses.replace(ready.settings, candidates=candidates)
        t_ns = round(t_s * 1e9)
        _, csi = simulation.observe(ready.world, s, t_ns)
        beams = s.beamforming[0].beams(csi, s.beamforming[1], ready.world.radio)
        return view_of(csi, beams, t_ns, 6, ready.world, s.coherence)

    return view


def decide(name, view, previous=None, **settings):
    module = importlib.import_module(f"leosim.clustering.{name}")
    return module.cluster(view, previous, module.Params(**settings))


@pytest.mark.parametrize("name", algorithms("clustering"))
def test_contract(name, sky):
    previous = None
    for t_s in (0.0, 1.0, 2.0):
        view = sky(t_s)
        clusters, solver = decide(name, view, previous, k_max=K_MAX)
        again, _ = decide(name, view, previous, k_max=K_MAX)
        for field in clusters.array_fields():  # the same input, the same bytes
            assert getattr(clusters, field).tobytes() == getattr(again, field).tobytes(), field
        visible = set(zip(view.user.tolist(), view.sat.tolist(), strict=True))
        assert set(zip(clusters.user.tolist(), clusters.sat.tolist(), strict=True)) <= visible
        sat, load = np.unique(clusters.sat, return_counts=True)
        assert load.max() <= K_MAX
        share = [np.sum(clusters.amplitude[clusters.sat == s] ** 2) for s in sat]
        assert max(share) <= FULL
        assert (clusters.amplitude > 0).all()
        served = np.bincount(clusters.user, minlength=view.user_count) > 0
        np.testing.assert_array_equal(clusters.status == SERVED, served)
        assert np.all(np.diff(clusters.sat) >= 0)  # in order of satellite, then user
        assert int(solver.status) in (0, 1)
        assert 0 < solver.min_rate <= solver.upper_rate + 1e-12
        previous = clusters


@pytest.mark.parametrize("name", algorithms("clustering"))
def test_nobody_in_view_is_an_answer(name, sky):
    view = sky(0.0)
    c = view.couplings
    nothing = {f: np.empty((0, *getattr(c, f).shape[1:])) for f in c.array_fields()}
    pairs = {f: np.empty(0) for f in view.array_fields()}
    clusters, solver = decide(name, view.replace(couplings=c.replace(**nothing), **pairs))
    assert clusters.user.size == 0
    assert (clusters.status == 1).all()
    assert int(solver.status) == 3


def test_users_without_room_are_declared(sky):
    view = sky(0.0, candidates=1)
    satellites = np.unique(view.sat).size
    assert satellites < 6  # some users share their highest satellite
    for name in algorithms("clustering"):
        clusters, _ = decide(name, view, k_max=1, candidates=1)
        assert (clusters.status == SERVED).sum() == satellites
        assert (clusters.status == NO_ROOM).sum() == 6 - satellites


@pytest.mark.parametrize("name", algorithms("clustering"))
def test_nobody_is_left_waiting(name, sky):
    view = sky(0.0)
    # one satellite all users see, with room for half of them
    sat = next(s for s in np.unique(view.sat) if (view.useful[view.sat == s] > 0.0).sum() == 6)
    view = only(view, sat)
    served, longest, previous = np.zeros(6, dtype=int), 0, None
    for _ in range(8):
        previous, _ = decide(name, view, previous, k_max=3)
        now = previous.status == SERVED
        assert now.sum() == 3
        np.testing.assert_array_equal(previous.waited > 0, previous.status == NO_ROOM)
        served += now
        longest = max(longest, previous.waited.max())
    assert served.tolist() == [4] * 6
    assert longest <= 2  # ceil(6 users / 3 places)


def only(view, sat):
    """A view in which one satellite may serve, and no other is there."""
    c = view.couplings
    mine, pairs = c.sat == sat, view.sat == sat
    block = np.repeat(np.arange(c.sat.size), c.receiver_size * c.stream_size)
    receivers, streams = np.repeat(mine, c.receiver_size), np.repeat(mine, c.stream_size)
    keep = {"beam": mine, "receiver": receivers, "stream": streams, "coupling": mine[block]}
    kept = {f: getattr(c, f)[keep.get(spec.axes[0], slice(None))] for f, spec in c.array_fields().items()}
    return view.replace(couplings=c.replace(**kept), **{f: getattr(view, f)[pairs] for f in view.array_fields()})


@pytest.mark.parametrize("cross_terms", ["averaged", "ideal"])
def test_couplings_below_the_noise_change_nothing_that_counts(short, cross_terms):
    scenario = short(10, 30, users={"radius_km": 1000, "count": 30})
    scenario = scenario.with_(communication={"coherence": {"cross_terms": cross_terms}})
    view = simulation.epoch(scenario).view
    full, order = views.problem(view, 0.0)
    thin, _ = views.problem(view)
    assert len(thin.variance) < 0.6 * len(full.variance)
    support = full.useful > 0.0
    found = allocation.max_min(thin, support, raise_levels=False)
    best = allocation.max_min(full, support, raise_levels=False)
    served = found.served
    on_all = np.log2(1 + couplings.sinr(full, found.p)[served].min())
    least = np.log2(1 + best.sinr[served].min())
    per_mille = 1e-3
    assert abs(on_all - least) < per_mille * least
    clusters, solver = decide("cell_free", view)
    amplitude = np.zeros(order.size)
    at = {pair: i for i, pair in enumerate(zip(view.user[order].tolist(), view.sat[order].tolist(), strict=True))}
    for user, sat, p in zip(clusters.user.tolist(), clusters.sat.tolist(), clusters.amplitude, strict=True):
        amplitude[at[user, sat]] = p
    scored = np.log2(1 + couplings.sinr(full, amplitude)[clusters.status == SERVED].min())
    assert solver.min_rate == pytest.approx(scored, rel=1e-6)


@pytest.mark.parametrize("by", ["elevation", "rate", "remaining"])
def test_the_best_satellite_by_each_metric(sky, by):
    view = sky(0.0)
    clusters, _ = decide("best_satellite", view, by=by, k_max=50)
    metric = {"elevation": view.elevation_rad, "rate": view.useful, "remaining": view.remaining_s}[by]
    for user, sat in zip(clusters.user, clusters.sat, strict=True):
        mine = view.user == user
        assert sat == view.sat[mine][np.argmax(metric[mine])]


def test_hysteresis_keeps_and_time_to_trigger_waits(sky):
    first, _ = decide("best_satellite", sky(0.0), k_max=50)
    later = [sky(t) for t in np.arange(1.0, 60.0)]
    moved = {"none": None, "hysteresis": None, "trigger": None}
    settings = {"none": {}, "hysteresis": {"hysteresis": 4.0}, "trigger": {"time_to_trigger_s": 5.0}}
    for name, extra in settings.items():
        previous = first
        for view in later:
            previous, _ = decide("best_satellite", view, previous, k_max=50, **extra)
            if moved[name] is None and set(zip(previous.user, previous.sat, strict=True)) != set(
                zip(first.user, first.sat, strict=True)
            ):
                moved[name] = view.t_ns / 1e9
                if name == "hysteresis":
                    user = next(u for u in range(6) if previous.sat[previous.user == u] != first.sat[first.user == u])
                    mine = view.user == user
                    height = dict(zip(view.sat[mine].tolist(), np.degrees(view.elevation_rad[mine]), strict=True))
                    new, old = int(previous.sat[previous.user == user][0]), int(first.sat[first.user == user][0])
                    assert height[new] > height[old] + 4.0
    assert moved["none"] < moved["hysteresis"]
    assert moved["trigger"] == moved["none"] + 5.0


def test_a_challenger_that_falls_back_starts_its_time_anew(sky):
    view = sky(0.0)
    first, _ = decide("best_satellite", view, k_max=50)
    user = int(first.user[0])
    # Put the user on its worst satellite: a better one waits, then the clock is turned back.
    mine = np.flatnonzero(view.user == user)
    worst = view.sat[mine[np.argmin(view.elevation_rad[mine])]]
    poor = first.replace(sat=np.where(first.user == user, worst, first.sat))
    waiting, _ = decide("best_satellite", view, poor, k_max=50, time_to_trigger_s=2.0)
    assert waiting.challenger[user] >= 0
    assert waiting.challenger_since_ns[user] == view.t_ns
    assert worst in waiting.sat[waiting.user == user]
    content, _ = decide("best_satellite", view, first, k_max=50, time_to_trigger_s=2.0)
    assert content.challenger[user] == -1


def test_equal_powers_are_equal(sky):
    clusters, solver = decide("best_satellite", sky(0.0), k_max=50, power="uniform")
    for sat in np.unique(clusters.sat):
        mine = clusters.amplitude[clusters.sat == sat]
        np.testing.assert_allclose(mine, mine.size**-0.5)
    _best, certified = decide("best_satellite", sky(0.0), k_max=50)
    assert certified.min_rate >= solver.min_rate


def test_the_classical_system_hands_over_hard_only(short, tmp_path):
    scenario = short(120, 4, clustering={"algorithm": "best_satellite"})
    with simulation.run(scenario, tmp_path / "run.h5") as log:
        kinds = log.handovers["kind"]
        assert kinds.size > 0
        assert (kinds == HARD).all()
        assert log.rates["interruption_s"].sum() == pytest.approx(0.05 * kinds.size)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"by": "luck"}, "elevation, rate, remaining"),
        ({"power": "all"}, "max_min, uniform"),
        ({"hysteresis": -1}, "at least 0"),
        ({"k_max": 0}, "at least 1"),
        ({"candidates": 2.5}, "whole number"),
    ],
)
def test_settings_that_cannot_be(settings, expected):
    with pytest.raises(ValueError, match=expected):
        importlib.import_module("leosim.clustering.best_satellite").Params(**settings)
