"""Every clustering algorithm keeps the contract; the classical ones do what their settings say."""

import dataclasses
import importlib

import numpy as np
import pytest
from paper_algorithm import paper_algorithm_1
from paper_box import box

from leosim import allocation, couplings, rates, simulation, support, views
from leosim.clustering import cell_free_sca
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
        return view_of(csi, beams, t_ns, 6, ready.world.radio, s.coherence)

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
        assert int(solver.status) in (0, 1, 5)
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


# ---------------------------------------------------------------------------------------------
# The paper's Algorithm 1


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize("seed", range(4))
def test_algorithm_1_is_that_of_the_paper(seed):
    mean, variance = box(seed)
    problem = couplings.problem_from_dense(mean, variance)
    match, _ = support.assign(problem, 3)
    got = cell_free_sca.algorithm_1(problem, problem.useful > 0.0, cell_free_sca.Params(k_max=3), match)
    p, programs = paper_algorithm_1(mean, variance, 3, outer=20)
    plain = couplings.sinr(problem, p.T.ravel()).min()
    a_thousandth_bit = 1e-3
    assert got.status == "converged"
    assert np.log2(1 + got.sinr.min()) == pytest.approx(np.log2(1 + plain), abs=a_thousandth_bit)
    assert sum(got.inner) == pytest.approx(programs, abs=2)
    assert np.log2(1 + got.sinr.min()) <= np.log2(1 + allocation.allocate(problem, 3).bound) + 1e-9


def test_algorithm_1_without_a_limit_finds_the_optimum():
    problem = couplings.problem_from_dense(*box(5))
    match, _ = support.assign(problem, 5)
    params = cell_free_sca.Params(k_max=5, tolerance=1e-4, most_inner=200)
    got = cell_free_sca.algorithm_1(problem, problem.useful > 0.0, params, match)
    best = allocation.max_min(problem)
    assert len(got.inner) == 1
    assert np.log2(1 + got.sinr.min()) == pytest.approx(np.log2(1 + best.lower), abs=2e-3)


def test_algorithm_1_cut_short_keeps_the_limits():
    problem = couplings.problem_from_dense(*box(0, n_sat=6, n_user=6))
    match, _ = support.assign(problem, 1)  # as many places as users: nobody may lose the only one
    got = cell_free_sca.algorithm_1(problem, problem.useful > 0.0, cell_free_sca.Params(k_max=1, most_outer=1), match)
    assert got.status == "cut"
    assert np.bincount(problem.pair_sat, got.p > 0).max() == 1
    assert np.bincount(problem.pair_user, got.p > 0).min() >= 1
    assert (got.sinr > 0).all()


def test_algorithm_1_says_when_it_was_held_short(sky):
    view = sky(0.0)
    _, solver = decide("cell_free_sca", view, k_max=K_MAX, most_outer=1)
    assert int(solver.status) == 2
    few, solver = decide("cell_free_sca", view, k_max=K_MAX, most_pairs=12)
    assert int(solver.status) == 2
    assert np.bincount(few.user).max() <= 3


def test_algorithm_1_when_useful_powers_add(sky):
    view = sky(0.0, candidates=4)
    alone = view.replace(
        couplings=rates.cohere(view.couplings, rates.Coherence("noncoherent")), cross_terms="noncoherent"
    )
    _, solver = decide("cell_free_sca", alone, k_max=50, tolerance=1e-4)
    _, best = decide("cell_free", alone, k_max=50)
    assert solver.min_rate <= best.upper_rate + 1e-9
    assert solver.min_rate >= 0.98 * best.min_rate


# ---------------------------------------------------------------------------------------------
# Clusters by distance


def test_the_nearest_satellites_where_there_is_room(sky):
    view = sky(0.0)
    clusters, _ = decide("nearest", view, count=5, k_max=6)
    for user in range(view.user_count):
        mine = np.flatnonzero(view.user == user)
        nearest = view.sat[mine[np.argsort(view.range_m[mine])[:5]]]
        served = clusters.sat[clusters.user == user]
        assert set(served.tolist()) <= set(nearest.tolist())  # max-min may leave some without power
    uniform, _ = decide("nearest", view, count=5, k_max=6, power="uniform")
    assert np.bincount(uniform.user).tolist() == [5] * 6


def test_a_full_satellite_keeps_its_nearest_users(sky):
    view = sky(0.0)
    clusters, _ = decide("nearest", view, count=4, k_max=2, power="uniform")
    chosen = set(zip(clusters.user.tolist(), clusters.sat.tolist(), strict=True))
    load = dict(zip(*(x.tolist() for x in np.unique(clusters.sat, return_counts=True)), strict=True))
    assert np.bincount(clusters.user).tolist() == [4] * 6
    by_range = np.argsort(view.range_m)
    first = view.sat[by_range[0]]
    rivals = [u for u, s in zip(view.user[by_range], view.sat[by_range], strict=True) if s == first][:2]
    assert load[int(first)] == 2
    assert (int(view.user[by_range[0]]), int(first)) in chosen
    assert {(int(u), int(first)) for u in rivals} & chosen


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("nearest", {"count": 0}, "at least 1"),
        ("nearest", {"power": "all"}, "max_min, uniform"),
        ("cell_free_sca", {"epsilon": 0}, "between 0 and 1"),
        ("cell_free_sca", {"tolerance": 2}, "between 0 and 1"),
        ("cell_free_sca", {"most_outer": 1.5}, "whole number"),
    ],
)
def test_settings_of_the_others_that_cannot_be(name, settings, expected):
    with pytest.raises(ValueError, match=expected):
        importlib.import_module(f"leosim.clustering.{name}").Params(**settings)
