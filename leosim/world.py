"""What is true at an instant, and what of it the central node is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leosim import channel, orbit
from leosim import users as places
from leosim.channel import Radio
from leosim.faults import Fault, Faults
from leosim.frames import local_axes
from leosim.records import ChannelStats, Csi, Geometry, Satellites, Users, pair_code
from leosim.windows import AccessWindows


@dataclass(frozen=True)
class World:
    """Truth as a function of time: orbits, users, the passes of every satellite over every user, radio, faults.

    users : where they are at the start; extent : where they come within the run (`users.extent`), itself if they rest
    old : orbits from element sets that are believed while a fault of that kind is in force
    """

    ephemeris: orbit.Ephemeris
    users: Users
    windows: AccessWindows
    radio: Radio
    extent: Users | None = None
    faults: Faults = Faults()
    old: tuple[tuple[Fault, orbit.Ephemeris], ...] = ()

    @property
    def ground(self) -> Users:
        """Users wherever they come within the run."""
        return self.users if self.extent is None else self.extent

    def flying(self, t_ns: int) -> Satellites:
        """The satellites that some user may see about then, without those that are out."""
        return self.working(self.ground, t_ns)

    def working(self, users: Users, t_ns: int, known_ns: int | None = None) -> Satellites:
        """The satellites near some users, without those that are out, at known_ns if given (ns)."""
        near = self.ephemeris.near(users, t_ns)
        return chosen(near, ~self.faults.silent(near.sat, t_ns if known_ns is None else known_ns))

    def believed(self, t_ns: int) -> Satellites:
        """The satellites the central node hears of, where it believes them to be."""
        told = self.flying(t_ns)
        for fault, ephemeris in self.old:
            if fault.holds(t_ns):
                near = ephemeris.near(self.ground, t_ns)
                moved = chosen(near, fault.concerns(near.sat) & ~self.faults.silent(near.sat, t_ns))
                told = together(chosen(told, ~fault.concerns(told.sat)), moved)
        return chosen(told, ~self.faults.cut_off(told.sat, t_ns))

    def geometry(self, flying: Satellites, mask_rad: float | None = None) -> Geometry:
        """Satellites above a mask (by default each user's) where users are then, their motion in the range rates."""
        users, vel_ecef = places.at(self.users, flying.t_ns)
        seen = orbit.geometry(flying, users, mask_rad)
        if not vel_ecef.any():
            return seen
        east, north, up = np.einsum("uax,ux->au", local_axes(users.lat_rad, users.lon_rad), vel_ecef)[:, seen.user]
        flat = np.sin(seen.azimuth_rad) * east + np.cos(seen.azimuth_rad) * north
        closing = np.cos(seen.elevation_rad) * flat + np.sin(seen.elevation_rad) * up
        return seen.replace(range_rate_m_s=seen.range_rate_m_s - closing)

    def visible(self, t_ns: int) -> Geometry:
        """Every satellite above a user's mask."""
        return self.geometry(self.flying(t_ns))

    def statistics(self, t_ns: int, sats: np.ndarray, flying: Satellites | None = None) -> ChannelStats:
        """Channel statistics of some satellites with every user whose horizon they are above.

        sats : [sat] catalogue numbers, ascending; flying : where they are, unless where they truly are
        """
        flying = self.ephemeris.near(self.ground, t_ns) if flying is None else flying
        geometry = self.geometry(chosen(flying, np.isin(flying.sat, sats)), 0.0)
        passes, _ = self.windows.lookup(geometry.user, geometry.sat, t_ns)
        return channel.statistics(geometry, passes, self.radio)

    def report(self, visible: Geometry, candidates: int, horizon_s: float) -> Csi:
        """The CSI of an instant: each user's candidates, and all users in view of any of them.

        A candidate is one of the user's highest satellites among those that do not set within the
        horizon (the time a decision made from this CSI stays in force), so that a member is replaced
        before it sets; where that leaves a user nobody, those that do set stand in.
        While feeder links are down or old elements are believed, it is made of what is told and believed.
        visible : satellites above the masks; candidates : of each user; horizon_s : time (s)
        """
        flying = self.believed(visible.t_ns) if self.faults else None
        visible = visible if flying is None else self.geometry(flying)
        _, remaining_s = self.windows.lookup(visible.user, visible.sat, visible.t_ns)
        best = highest(visible, candidates, remaining_s >= horizon_s)
        wanted = pair_code(visible.sat[best], visible.user[best])
        stats = self.statistics(visible.t_ns, np.unique(visible.sat[best]), flying)
        candidate = np.isin(pair_code(stats.sat, stats.user), wanted)
        _, remaining_s = self.windows.lookup(stats.user, stats.sat, visible.t_ns)
        return channel.observe(stats, candidate, remaining_s)


def chosen(flying: Satellites, rows: np.ndarray) -> Satellites:
    """Some of the satellites; rows : [sat] bool."""
    return flying.replace(sat=flying.sat[rows], pos_ecef=flying.pos_ecef[rows], vel_ecef=flying.vel_ecef[rows])


def together(one: Satellites, other: Satellites) -> Satellites:
    """Two sets of satellites as one, in order of catalogue number."""
    order = np.argsort(np.concatenate([one.sat, other.sat]))
    both = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in one.array_fields()}
    return one.replace(**{name: values[order] for name, values in both.items()})


def highest(visible: Geometry, candidates: int, stays: np.ndarray) -> np.ndarray:
    """Which pairs are among their user's `candidates` highest, those that stay coming first: [pair] bool.

    Pairs that do not stay are taken only for users none of whose satellites stays.
    """
    user = visible.user
    lasting = np.zeros(user.max(initial=-1) + 1, dtype=bool)
    lasting[user[stays]] = True
    eligible = stays | ~lasting[user]
    order = np.lexsort((visible.sat, -visible.elevation_rad, ~eligible, user))
    start = np.searchsorted(user[order], user[order], side="left")
    rank = np.empty(user.size, dtype=np.int64)
    rank[order] = np.arange(user.size) - start
    return eligible & (rank < candidates)
