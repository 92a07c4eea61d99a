"""Every precoder against constructions over the antennas with N x N inverses; what all of them promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_rates import IDEAL, radio, scene, vectors

from leosim import channel, rates, scenario
from leosim.antenna import steering
from leosim.beamforming import rzf, slnr, smrt, spot_beam, szf
from leosim.channel import Radio
from leosim.records import Beams, ChannelStats, Csi

rounding = 1e-9
EVERY = scenario.algorithms("beamforming")


def told(stats: ChannelStats, candidate: np.ndarray | None = None) -> Csi:
    chosen = np.ones(stats.user.size, dtype=bool) if candidate is None else candidate
    return channel.observe(stats, chosen, np.full(stats.user.size, 100.0))


def make(name: str, csi: Csi, r: Radio, **settings) -> Beams:
    module = scenario.load_algorithm("beamforming", name)
    return module.beams(csi, module.Params(**settings), r)


def useful(csi: Csi, beams: Beams, r: Radio) -> np.ndarray:
    """e^(-i phi) a^H w of each stream at its own user, over the antennas: [stream]."""
    w, a = vectors(beams, r), steering(csi.cosines, r.rows, r.columns)[csi.candidate == 1]
    phase = csi.phase_rad[csi.candidate == 1]
    return np.einsum("sn,sn->s", a.conj(), w) * np.exp(-1j * phase)


def towards(beams: Beams, csi: Csi, r: Radio, sat: int) -> tuple[np.ndarray, np.ndarray]:
    """a_i^H w_j of one satellite: [user in view, stream], and the users of its streams."""
    mine = np.repeat(beams.sat, beams.stream_size) == sat
    a = steering(csi.cosines[csi.sat == sat], r.rows, r.columns)
    return a.conj() @ vectors(beams, r)[mine].T, beams.user[mine]


def same_beams(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest distance of beams [stream, ant], their common phases taken out."""
    turn = np.einsum("sn,sn->s", expected.conj(), found)
    return float(np.abs(found - expected * (turn / np.abs(turn))[:, None]).max())


SCENES = {
    "far apart": {"sats": 4, "users": 6},
    "close": {"sats": 3, "users": 8, "disc_m": 40e3},
    "in one place": {"sats": 2, "users": 3, "disc_m": 0.0},
    "more users than antennas": {"sats": 2, "users": 40},
    "one": {"sats": 1, "users": 1},
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", SCENES)
def test_every_precoder_keeps_the_contract(name: str, kind: str) -> None:
    """Unit norm, useful coupling real and positive, finite, a beam a candidate pair, the same each time."""
    r = radio(rows=6, columns=5)
    csi = told(scene(r=r, **SCENES[kind]))
    csi = csi.replace(candidate=(csi.user + csi.sat) % 4 != 3)
    beams = make(name, csi, r)
    serves = csi.candidate == 1
    np.testing.assert_array_equal(np.repeat(beams.sat, beams.stream_size), csi.sat[serves])
    np.testing.assert_array_equal(beams.user, csi.user[serves])
    np.testing.assert_allclose(np.linalg.norm(vectors(beams, r), axis=1), 1.0, rtol=rounding)
    own = useful(csi, beams, r)
    assert (own.real > 0.0).all()
    assert np.abs(own.imag).max() < rounding * math.sqrt(r.antennas)
    again = make(name, csi, r)
    for field in Beams.array_fields():
        np.testing.assert_array_equal(getattr(again, field), getattr(beams, field))
    c = rates.couplings(csi, beams, r)
    sinr = rates.hardening_sinr(c, np.full(c.stream.size, 0.2), SCENES[kind]["users"], IDEAL)
    assert np.isfinite(sinr).all()
    assert (sinr >= 0.0).all()
    assert (beams.direction < np.repeat(np.repeat(beams.direction_size, beams.stream_size), beams.term_size)).all()


@pytest.mark.parametrize("name", EVERY)
def test_nobody_to_serve_is_no_beam(name: str) -> None:
    r = radio()
    csi = told(scene(2, 3, r))
    for nothing in (csi.replace(candidate=np.zeros(csi.user.size)), empty(csi)):
        beams = make(name, nothing, r)
        assert beams.sat.size == beams.user.size == beams.coefficient.size == 0
        assert rates.couplings(nothing, beams, r).stream.size == 0


def empty(csi: Csi) -> Csi:
    return csi.replace(**{name: getattr(csi, name)[:0] for name in Csi.array_fields()})


@pytest.mark.parametrize("name", EVERY)
def test_turned_axes_turn_the_beams(name: str) -> None:
    """Users in another order, the same gains: nothing depends on the row of a user but pilots."""
    if name == "imrt":
        return
    r = radio(rows=5, columns=5)
    csi = told(scene(3, 5, r))
    order = np.array([3, 1, 4, 0, 2])
    renamed = csi.replace(user=order[csi.user])
    back = np.lexsort((renamed.user, renamed.sat))
    renamed = renamed.replace(**{f: getattr(renamed, f)[back] for f in Csi.array_fields()})
    mean, _, _ = rates.dense(rates.couplings(csi, make(name, csi, r), r), 5)
    other, _, _ = rates.dense(rates.couplings(renamed, make(name, renamed, r), r), 5)
    np.testing.assert_allclose(other[np.ix_(order, order)], mean, rtol=0, atol=1e-7 * np.abs(mean).max())


# ---------------------------------------------------------------------------------------------
# Statistical zero forcing


def test_szf_is_the_pseudo_inverse_of_well_separated_users() -> None:
    r = radio(rows=12, columns=12)
    csi = told(scene(3, 5, r))
    beams = szf.beams(csi, szf.Params(separation=1e-6), r)
    expected = []
    for sat in beams.sat:
        a = steering(csi.cosines[csi.sat == sat], 12, 12).T  # [ant, user]
        w = a @ np.linalg.inv(a.conj().T @ a)
        expected.append((w / np.linalg.norm(w, axis=0)).T)
    assert same_beams(vectors(beams, r), np.concatenate(expected)) < rounding


@pytest.mark.parametrize("m", [2, 5, 12])
def test_szf_is_silent_inside_its_set_and_only_there(m: int) -> None:
    """The set is counted out again by plain projections over the antennas; users served come first."""
    r = radio(rows=6, columns=6)
    csi = told(scene(3, 20, r, seed=5))
    csi = csi.replace(candidate=csi.user % 3 == 0)
    beams = szf.beams(csi, szf.Params(m=m), r)
    for sat in beams.sat:
        at, streams = towards(beams, csi, r, sat)
        a = steering(csi.cosines[csi.sat == sat], 6, 6)
        beta, served = csi.beta[csi.sat == sat], np.isin(np.arange(20), streams)
        leak = np.array(
            [beta[i] * sum(abs(a[i].conj() @ a[j]) ** 2 for j in streams if j != i) for i in range(20)]
        )  # what sMRT leaves at each user
        chosen: list[int] = []
        for i in sorted(range(20), key=lambda i: (not served[i], -leak[i])):
            basis = np.linalg.qr(a[chosen].T)[0] if chosen else np.zeros((36, 0))
            outside = a[i] - basis @ (basis.conj().T @ a[i])
            if np.linalg.norm(outside) ** 2 >= 0.1 * 36 and len(chosen) < m:
                chosen.append(i)
        for place, j in enumerate(streams):
            own = abs(at[j, place])
            silent = np.abs(at[chosen, place]) < rounding * own
            if j in chosen:
                np.testing.assert_array_equal(silent, np.array(chosen) != j)
            else:  # silent at the set but for its nearest members
                near = np.abs(a[chosen].conj() @ a[j])
                assert silent[near < near[~silent].min(initial=np.inf)].all()
                assert own**2 >= 0.1 * 36 * (1 - rounding)
        rest = np.delete(at, chosen, axis=0)
        assert np.abs(rest).max() > 1e-3
    assert (np.abs(useful(csi, beams, r)) > 1e-3).all()


def test_szf_with_two_users_in_one_place() -> None:
    """They cannot be told apart: both get a beam that is silent at all others, as if the other were not there."""
    r = radio(rows=8, columns=8)
    stats = scene(2, 5, r)
    cosines = stats.cosines.copy()
    cosines[stats.user == 3] = cosines[stats.user == 1]
    csi = told(stats.replace(cosines=cosines))
    beams = szf.beams(csi, szf.Params(separation=1e-6), r)
    for sat in beams.sat:
        at, _ = towards(beams, csi, r, sat)
        gain = np.abs(at)
        np.testing.assert_allclose(gain[1, [1, 3]], gain[3, [3, 1]], rtol=1e-6)
        others = np.ix_([0, 2, 4], [1, 3])
        assert gain[others].max() < 1e-6 * gain[1, 1]


def test_szf_refuses_what_it_cannot_do() -> None:
    for wrong in ({"m": -1}, {"m": 2.0}, {"separation": 0.0}, {"separation": 1.0}, {"separation": "near"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            szf.Params(**wrong)


# ---------------------------------------------------------------------------------------------
# Regularised zero forcing and SLNR


@pytest.mark.parametrize("leakage", slnr.LEAKAGE)
@pytest.mark.parametrize("users", [6, 30])
def test_slnr_is_the_inverse_over_the_antennas(leakage: str, users: int) -> None:
    r = radio(rows=5, columns=4)
    csi = told(scene(2, users, r))
    csi = csi.replace(candidate=csi.user % 2 == 0)
    beams = slnr.beams(csi, slnr.Params(leakage=leakage), r)
    expected = []
    for sat in beams.sat:
        a, beta = steering(csi.cosines[csi.sat == sat], 5, 4), csi.beta[csi.sat == sat]
        counted = range(users) if leakage == "all" else range(0, users, 2)
        for k in range(0, users, 2):
            matrix = np.eye(20) / r.power_to_noise + sum(
                beta[j] * np.outer(a[j], a[j].conj()) for j in counted if j != k
            )
            w = np.linalg.solve(matrix, a[k])
            expected.append(w / np.linalg.norm(w))
    assert same_beams(vectors(beams, r), np.array(expected)) < 1e-7


@pytest.mark.parametrize("leakage", slnr.LEAKAGE)
def test_slnr_is_the_largest_ratio_there_is(leakage: str) -> None:
    """The ratio equals the generalised eigenvalue beta a^H (R + I sigma2/rho)^-1 a, and no other beam beats it."""
    r = radio(rows=5, columns=4)
    csi = told(scene(2, 9, r))
    csi = csi.replace(candidate=csi.user < 6)
    beams = slnr.beams(csi, slnr.Params(leakage=leakage), r)
    w, rng, place = vectors(beams, r), np.random.default_rng(3), 0
    for sat in beams.sat:
        a, beta = steering(csi.cosines[csi.sat == sat], 5, 4), csi.beta[csi.sat == sat]
        for k in range(6):
            others = [j for j in range(9 if leakage == "all" else 6) if j != k]
            leak = sum(beta[j] * np.outer(a[j], a[j].conj()) for j in others) + np.eye(20) / r.power_to_noise

            def ratio(x: np.ndarray, k=k, leak=leak, a=a, beta=beta) -> float:
                return float(beta[k] * abs(a[k].conj() @ x) ** 2 / (x.conj() @ leak @ x).real)

            best = ratio(w[place])
            assert best == pytest.approx(beta[k] * (a[k].conj() @ np.linalg.solve(leak, a[k])).real, rel=rounding)
            for _ in range(20):
                step = rng.standard_normal(20) + 1j * rng.standard_normal(20)
                assert ratio(w[place] + 0.03 * step / np.linalg.norm(step)) < best
            place += 1


@pytest.mark.parametrize("regularisation", [0.1, 1.0, 6.0])
def test_rzf_is_the_regularised_inverse(regularisation: float) -> None:
    r = radio(rows=6, columns=5)
    csi = told(scene(3, 8, r))
    csi = csi.replace(candidate=csi.user < 6)
    beams = rzf.beams(csi, rzf.Params(regularisation=regularisation), r)
    expected = []
    for sat in beams.sat:
        a = steering(csi.cosines[csi.sat == sat][:6], 6, 5).T
        beta = csi.beta[csi.sat == sat][:6]
        w = a @ np.linalg.inv(a.conj().T @ a + np.diag(regularisation / (r.power_to_noise * beta)))
        expected.append((w / np.linalg.norm(w, axis=0)).T)
    assert same_beams(vectors(beams, r), np.concatenate(expected)) < 1e-8


def test_rzf_is_slnr_among_own_users_and_runs_from_smrt_to_szf() -> None:
    r = radio(rows=12, columns=12)
    csi = told(scene(3, 5, r))

    def beam(module, **settings) -> np.ndarray:
        return vectors(module.beams(csi, module.Params(**settings), r), r)

    assert same_beams(beam(rzf), beam(slnr, leakage="own")) < rounding
    assert same_beams(beam(rzf, regularisation=1e6), beam(smrt)) < 1e-3
    assert same_beams(beam(rzf, regularisation=1e-6), beam(szf, separation=1e-6)) < 1e-3
    with pytest.raises(ValueError, match="regularisation"):
        rzf.Params(regularisation=0.0)
    with pytest.raises(ValueError, match="leakage"):
        slnr.Params(leakage="some")


# ---------------------------------------------------------------------------------------------
# Regional beams


def test_spot_beams_are_the_strongest_of_a_grid_written_out() -> None:
    """All 64 beams over the antennas, each the sum of orthogonal vectors in its cell: nobody has a stronger one."""
    r = radio(rows=16, columns=12)
    csi = told(scene(3, 30, r, box_m=1400e3, disc_m=600e3))
    beams = spot_beam.beams(csi, spot_beam.Params(), r)
    width = 2 * 0.84 / 8
    parts = [round(width * 16 / 2), round(width * 12 / 2)]  # antennas / 2 orthogonal directions a unit of cosine
    assert parts == [2, 1]
    grid = {}
    for row in range(8):
        for column in range(8):
            u = -0.84 + width * (row + 0.5) + 2 / 16 * np.array([-0.5, 0.5])
            v = -0.84 + width * (column + 0.5)
            w = steering(np.array([[x, v] for x in u]), 16, 12).sum(axis=0)
            grid[8 * row + column] = w / np.linalg.norm(w)
    w, a = vectors(beams, r), steering(csi.cosines, 16, 12)
    for j in range(csi.user.size):
        gain = np.array([abs(a[j].conj() @ grid[b]) for b in range(64)])
        assert gain[beams.spot[j]] == pytest.approx(gain.max(), rel=rounding)
        assert same_beams(w[j : j + 1], grid[int(beams.spot[j])][None]) < rounding
    shared = [np.unique(beams.spot[csi.sat == s]).size for s in beams.sat]
    assert max(shared) < 30  # several users of one beam
    np.testing.assert_array_equal(beams.direction_size, 2 * np.array(shared))


def test_the_grid_of_spot_beams_reaches_to_25_degrees_from_550_km() -> None:
    earth_m = 6_371_000.0
    off_nadir = earth_m / (earth_m + 550e3) * math.cos(math.radians(25.0))
    assert 0.0 <= spot_beam.Params().extent - off_nadir < 0.01


def test_spot_beams_lose_little_inside_their_cells() -> None:
    """Of the full array's gain: within 3 dB at the centre of a cell, 16 dB at its corner, on 16 x 16 antennas."""
    r = radio(rows=16, columns=16)
    stats = scene(1, 2, r)
    width = 2 * 0.84 / 8
    for offset, loss_db in ((0.0, 3.0), (width / 2 - 1e-9, 16.0)):
        centre = width / 2 + offset
        csi = told(stats.replace(cosines=np.full((2, 2), centre)))
        own = np.abs(useful(csi, spot_beam.beams(csi, spot_beam.Params(), r), r)) ** 2 / r.antennas
        assert (-10 * np.log10(own) < loss_db).all()


def test_spot_beams_refuse_what_is_no_grid() -> None:
    for wrong in ({"rows": 0}, {"columns": 1.5}, {"extent": 0.0}, {"extent": 2}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            spot_beam.Params(**wrong)


# ---------------------------------------------------------------------------------------------
# What they are for


@pytest.mark.parametrize("noise_dbm", [-140.0, -115.0, -95.0])
def test_rzf_has_at_least_the_rate_of_smrt(noise_dbm: float) -> None:
    """Powers in equal shares, several drops: the least rate of rzf is at least sMRT's, with little noise far more."""
    gain = []
    for seed in range(6):
        r = radio(rows=10, columns=10, noise_w=1e-3 * 10 ** (noise_dbm / 10), k_factor_db=(15.0, 20.0))
        csi = told(scene(6, 5, r, seed=seed))
        rate = {}
        for name in ("smrt", "rzf"):
            c = rates.cohere(rates.couplings(csi, make(name, csi, r), r), rates.Coherence("averaged"))
            p = np.full(c.stream.size, 1 / math.sqrt(5))
            rate[name] = np.log2(1 + rates.hardening_sinr(c, p, 5, rates.Coherence("averaged"))).min()
        gain.append(rate["rzf"] - rate["smrt"])
    slack_bit = 0.02  # the precoder knows nothing of powers and of the other satellites
    assert min(gain) > -slack_bit
    if noise_dbm < -110:
        assert np.mean(gain) > 0.3
