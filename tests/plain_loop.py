"""An independent simulator: one for-loop over epochs, no event loop, no processes, no delays.

With zero delays and equal periods the event loop must give the same numbers, bit for bit. It shares the
physics (orbits, channel, rates, clustering, a dwell, a fix) with leosim and nothing of its clock, links, timeline,
handover processes, arrays, scoring or log. Access slots are taken to be enough for everybody, and no array is
wanted twice at a time.
"""

from itertools import pairwise

import numpy as np

from leosim import localisation, rates, sensing
from leosim.records import View

LISTS = ("csi", "clusters", "events", "isac", "targets", "detections", "tracks", "ical", "fixes")


def plain_loop(ready):
    """Run a prepared scenario; returns arrays over epochs, and lists: the records of each decision, dwell and fix."""
    s, world, users = ready.settings, ready.world, ready.users.name.size
    assert s.period_ns == s.step_ns
    assert s.csi_delay_ns == s.compute_ns == s.decision_delay_ns == 0
    result = {name: [] for name in ("hardening", "ergodic", "outage_s", "interruption_s", *LISTS)}
    previous, members, beams_before = None, None, None
    horizon_s = (2 * s.step_ns) / 1e9
    beliefs = list(localisation.first_beliefs(world, ready.localisation)) if ready.localisation else []
    precoders, sent, tracks = [None for _ in beliefs], None, {}
    for k in range(s.epochs):
        t_ns = k * s.step_ns
        visible = world.visible(t_ns)
        csi = world.report(visible, s.candidates, horizon_s)
        if beliefs:  # those of the period before
            csi = localisation.reported(world, ready.localisation, beliefs, csi)
        result["csi"].append(csi)
        beams = s.beamforming[0].beams(csi, s.beamforming[1], world.radio)
        raw = rates.couplings(csi, beams, world.radio)
        believed = rates.cohere(raw, s.coherence)
        may = csi.candidate == 1
        view = View(
            t_ns=t_ns,
            csi_t_ns=t_ns,
            user_count=users,
            couplings=believed,
            cross_terms=s.coherence.cross_terms,
            gamma=None,
            user=csi.user[may],
            sat=csi.sat[may],
            useful=rates.useful_amplitude(believed) * np.exp(-0.5 * s.coherence.slow_rad**2),
            range_m=csi.range_m[may],
            elevation_rad=csi.elevation_rad[may],
            remaining_s=csi.remaining_s[may],
        )
        clusters, _ = s.clustering[0].cluster(view, previous, s.clustering[1])
        previous = clusters
        spot = dict(zip(zip(np.repeat(beams.sat, beams.stream_size), beams.user, strict=True), beams.spot, strict=True))

        # Who changed, and until when which of its pairs are mute.
        now = [set() for _ in range(users)]
        aimed = [set() for _ in range(users)]
        for u, sat in zip(clusters.user, clusters.sat, strict=True):
            now[u].add(sat)
            aimed[u].add((sat, spot[sat, u]))
        mute_until = {}
        if members is not None:
            for u in range(users):
                if aimed[u] == beams_before[u]:
                    continue
                same = aimed[u] & beams_before[u]
                moved = [sat for sat, _ in aimed[u] - same if sat in members[u]]
                hard = bool(now[u]) and bool(members[u]) and not now[u] & members[u]
                cut = hard or (bool(moved) and not same)
                result["events"].append((t_ns, u, len(now[u] - members[u]), len(members[u] - now[u]), hard, len(moved)))
                for sat in now[u]:
                    new = sat not in members[u] or (sat in moved and not cut)
                    mute_until[u, sat] = max(s.acquisition_ns if new else 0, s.interruption_ns if cut else 0)
        members, beams_before = now, aimed

        # Truth is the CSI of this very instant: walk through the moments at which something changes.
        stops = sorted({0, s.step_ns, *mute_until.values()})
        hardening, ergodic = np.zeros(users), np.zeros(users)
        outage_ns, interruption_ns = np.zeros(users, int), np.zeros(users, int)
        serving_sats = np.unique(clusters.sat)
        truth = world.statistics(t_ns, serving_sats)
        used = _only(beams, serving_sats)
        true_raw = rates.couplings(truth, used, world.radio)
        true_cohered = rates.cohere(true_raw, s.coherence)
        streams = list(zip(np.repeat(used.sat, used.stream_size), used.user, strict=True))
        power = {(sat, u): a for sat, u, a in zip(clusters.sat, clusters.user, clusters.amplitude, strict=True)}
        for begin, end in pairwise(stops):
            speaking = {(sat, u) for sat, u in power if mute_until.get((u, sat), 0) <= begin}
            amplitude = np.array([power[p] if p in speaking else 0.0 for p in streams])
            weight = (end - begin) / s.step_ns
            sinr = rates.hardening_sinr(true_cohered, amplitude, users, s.coherence)
            hardening += weight * np.log2(1 + sinr)
            ergodic += weight * rates.ergodic_rate(
                true_raw, amplitude, users, s.coherence, world.radio.seed, k, s.ergodic_draws
            )
            for u in range(users):
                if not any(v == u for _, v in speaking):
                    outage_ns[u] += end - begin
                    interruption_ns[u] += (end - begin) if now[u] else 0
        if ready.sensing:
            assert ready.sensing.period_ns == s.step_ns
            sent, tracks = _dwell(ready, k, sent, tracks, result)
        if ready.localisation:
            assert ready.localisation.period_ns == s.step_ns
            assert ready.localisation.offset_ns + ready.localisation.hold_ns < s.step_ns
            for group, belief in enumerate(beliefs):
                precoders[group], beliefs[group] = _fix(ready, k, group, precoders[group], belief, result)
        result["hardening"].append(hardening)
        result["ergodic"].append(ergodic)
        result["outage_s"].append(outage_ns / 1e9)
        result["interruption_s"].append(interruption_ns / 1e9)
        result["clusters"].append(clusters)
    return {k: np.array(v) if k not in LISTS else v for k, v in result.items()}


def _dwell(ready, k, before, tracks, result):
    """Dwell k: the predicted track aims it, and the precoder before is remembered."""
    s = ready.sensing
    t_ns = k * s.period_ns + s.offset_ns
    target = sensing.aim(ready.world, s, t_ns, k, tracks, k * ready.settings.step_ns)
    precoder, targets, detection, track = sensing.dwell(ready.world, s, target, k, before)
    for name, row in (("isac", precoder), ("targets", targets), ("detections", detection), ("tracks", track)):
        result[name].append(row)
    return precoder, {**tracks, int(track.target): track}


def _fix(ready, k, group, before, belief, result):
    """Fix k of a group: the belief chooses the anchor and aims its precoder."""
    s = ready.localisation
    t_ns = k * s.period_ns + s.offset_ns
    sat = localisation.anchor(ready.world, s, t_ns, belief)
    precoder, fix = localisation.localise(ready.world, s, t_ns, group, k, sat, belief, before)
    result["ical"].append(precoder)
    result["fixes"].append(fix)
    return precoder, fix


def _only(beams, sats):
    keep = np.isin(beams.sat, sats)
    direction, stream = np.repeat(keep, beams.direction_size), np.repeat(keep, beams.stream_size)
    term = np.repeat(stream, beams.term_size)
    return beams.replace(
        sat=beams.sat[keep],
        direction_size=beams.direction_size[keep],
        stream_size=beams.stream_size[keep],
        cosines=beams.cosines[direction],
        spot=beams.spot[stream],
        user=beams.user[stream],
        phase_rad=beams.phase_rad[stream],
        term_size=beams.term_size[stream],
        direction=beams.direction[term],
        coefficient=beams.coefficient[term],
    )
