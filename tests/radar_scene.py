"""The published sensing setup and a pass at 550 km, as dwells that tests of echoes and detectors receive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leosim import echo, radar
from leosim.channel import Radio
from leosim.matched_filter import Prior
from leosim.radar import Receiver
from leosim.records import IsacPrecoder
from leosim.units import db_to_linear, thermal_noise_w

SAMPLE_M = 29.9792458  # at 10 MHz
TARGET = np.array([3e3, 3e3, 5e3])
VELOCITY = np.array([120.0, -200.0, 5.0])


def precoder(radio: Radio, cosines, power_w: float) -> IsacPrecoder:
    """All the power in the radar sequence, in one beam towards some direction cosines."""
    zero = np.array(0.0)
    return IsacPrecoder(
        t_ns=0,
        sat=np.array(7),
        target=np.array(0),
        status=zero,
        iterations=zero,
        min_rate=zero,
        gain_asked_w=zero,
        gain_w=np.array(power_w * radio.antennas),
        power_needed_w=np.array(power_w),
        user=np.array([-1, -2]),
        power_w=np.array([0.0, power_w]),
        rate=np.zeros(2),
        split=np.zeros(2),
        cosines=np.asarray(cosines, dtype=float)[None],
        weight_re=np.array([0.0, math.sqrt(power_w / radio.antennas)]),
        weight_im=np.zeros(2),
    )


@dataclass(frozen=True)
class Scene:
    """A satellite, its radio and a receiver; ENU positions in metres."""

    site: Receiver
    radio: Radio
    sat_enu: np.ndarray
    sat_vel_enu: np.ndarray
    samples: int
    rcs_m2: float

    @property
    def sat_pos(self):
        return self.site.pos_ecef + self.sat_enu @ self.site.axes

    @property
    def sat_vel(self):
        return self.sat_vel_enu @ self.site.axes

    def seen(self, target=TARGET):
        return radar.geometry(self.sat_pos, self.sat_vel, self.site, self.site.pos_ecef + target @ self.site.axes)

    def gain(self, target=TARGET):
        """|alpha|^2 of the radar equation, isotropic elements."""
        s = self.seen(target)
        return radar.echo_gain(
            s.range_tx_m, s.range_rx_m, self.rcs_m2, self.radio.carrier_hz, self.radio.satellite_gain, self.site.gain
        )

    def truth(self, target=TARGET, velocity=VELOCITY):
        return echo.measures(self.sat_enu, self.sat_vel_enu, target, velocity, self.radio.carrier_hz)

    def power_for(self, n_snr: float, target=TARGET) -> float:
        """Power (W), all on the target, at which N snr of a sample is so much; fully sampled arrays."""
        elements = self.site.rows * self.site.columns
        return n_snr * self.site.noise_w / (elements * self.radio.antennas * float(self.gain(target)))

    def snr(self, power_w: float, target=TARGET):
        """Integrated SNR of one element."""
        return radar.integrated_snr(power_w * self.radio.antennas, self.gain(target), self.site.noise_w, self.samples)

    def reception(self, target=TARGET, delays=88, lead=50.3, **other):
        """A gate of so many delays in which the target's is at `lead` samples."""
        first = float(self.seen(target).excess_m) - lead * SAMPLE_M
        return echo.Reception(self.samples, (first, first + delays * SAMPLE_M), **other)

    def receive(
        self, power_w, reception, seed, targets=TARGET[None], velocities=VELOCITY[None], steered=None, sends=None
    ):
        at = self.seen()
        return echo.receive(
            sends or precoder(self.radio, at.departure, power_w),
            self.radio,
            self.sat_pos,
            self.sat_vel,
            self.site,
            targets,
            velocities,
            np.full(len(targets), self.rcs_m2),
            at.arrival if steered is None else steered,
            reception,
            np.random.default_rng(seed),
        )

    def prior(self, off=(0.0, 0.0, 0.0, 0.0), gate=(0.1, 0.1, 600.0, 30e3), target=TARGET, velocity=VELOCITY):
        return Prior(self.truth(target, velocity) + np.array(off), np.array(gate))


def paper(subarray=(1, 1), samples=4096, size=32) -> Scene:
    """Table I, Park et al. 2024: satellite at (30, -30, 340) km, 8 x 8 antennas, RCS 100 m^2, 150 K."""
    noise_w = thermal_noise_w(10e6, 150.0)
    site = Receiver.at(
        0.0, 0.0, 0.0, rows=size, columns=size, subarray=subarray, noise_w=noise_w, gain=db_to_linear(3.0)
    )
    radio = Radio(
        carrier_hz=2e9,
        bandwidth_hz=10e6,
        power_w=100.0,
        noise_w=noise_w,
        rows=8,
        columns=8,
        element="isotropic",
        satellite_gain=db_to_linear(6.0),
    )
    return Scene(site, radio, np.array([30e3, -30e3, 340e3]), np.array([5300.0, -5300.0, -100.0]), samples, 100.0)


def high_pass(samples=65_536) -> Scene:
    """The defaults of a pass: 550 km, 24 x 24 antennas, 32 x 32 elements in 64 sub-arrays, RCS 20 m^2, 500 K."""
    noise_w = thermal_noise_w(10e6, 500.0)
    site = Receiver.at(0.8, 0.2, 500.0, rows=32, columns=32, subarray=(4, 4), noise_w=noise_w, gain=db_to_linear(5.0))
    radio = Radio(
        carrier_hz=2e9,
        bandwidth_hz=10e6,
        power_w=100.0,
        noise_w=noise_w,
        rows=24,
        columns=24,
        element="isotropic",
        satellite_gain=db_to_linear(5.0),
    )
    return Scene(site, radio, np.array([200e3, -120e3, 500e3]), np.array([-4000.0, 6300.0, -300.0]), samples, 20.0)
