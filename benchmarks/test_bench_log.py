"""What a crash-safe commit costs, against appending the same arrays without a flush, in one run."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from leosim.log import open_log
from leosim.log_writer import LogWriter
from leosim.records import Record, array

pytest.importorskip("pytest_benchmark")

PAIRS = 600
FIELDS = 21
EPOCHS = 200


def wide_record() -> type[Record]:
    """A record of about 100 kB: 25 datasets with time, size and scale of the pairs."""
    fields: list[tuple[str, Any, Any]] = [("t_ns", "int", dataclasses.field())]
    fields.append(("user", np.ndarray, array("pair", dtype="i4")))
    fields += [(f"value_{k}", np.ndarray, array("pair")) for k in range(FIELDS)]
    return dataclasses.make_dataclass("Wide", fields, bases=(Record,), namespace={"GROUP": "epoch"}, frozen=True)


Wide: Any = wide_record()


def an_epoch(k: int) -> Record:
    """Epoch k."""
    rng = np.random.default_rng(k)
    values = {f"value_{field}": rng.random(PAIRS) for field in range(FIELDS)}
    return Wide(t_ns=k * 10**9, user=np.arange(PAIRS), **values)


def plain_append_ms(path: Path, epochs: list[Record]) -> float:
    """Median time to append the same arrays with h5py as it comes, nothing flushed."""
    spent = []
    with h5py.File(path, "w") as file:
        for name, spec in Wide.array_fields().items():
            file.create_dataset(name, (0,), maxshape=(None,), chunks=(2048,), dtype=spec.dtype)
        file.create_dataset("t", (0,), maxshape=(None,), chunks=(2048,), dtype="i8")
        file.create_dataset("pair_size", (0,), maxshape=(None,), chunks=(2048,), dtype="i8")
        for record in epochs:
            begin = time.perf_counter()
            blocks = {name: getattr(record, name) for name in Wide.array_fields()}
            blocks |= {"t": np.array([0]), "pair_size": np.array([PAIRS])}
            for name, block in blocks.items():
                dataset = file[name]
                first = len(dataset)
                dataset.resize(first + len(block), axis=0)
                dataset[first:] = block
            spent.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(spent))


def test_commit(benchmark: Any, tmp_path: Path) -> None:
    """Milliseconds a commit: rows, flush, counts, flush."""
    epochs = [an_epoch(k) for k in range(EPOCHS)]
    writer = LogWriter(tmp_path / "run.h5", 0, [Wide])
    left = iter(epochs)

    def commit() -> None:
        writer.append(next(left))
        writer.commit()

    benchmark.pedantic(commit, rounds=EPOCHS, iterations=1)
    with open_log(tmp_path / "run.h5") as log:
        assert len(log.epoch) == EPOCHS
    begin = time.perf_counter()
    writer.finish()
    benchmark.extra_info["finish_s"] = time.perf_counter() - begin
    benchmark.extra_info["epoch_kb"] = sum(getattr(epochs[0], n).nbytes for n in Wide.array_fields()) / 1e3
    benchmark.extra_info["datasets"] = FIELDS + 4
    benchmark.extra_info["plain_append_without_flush_ms"] = plain_append_ms(tmp_path / "plain.h5", epochs)


def test_open_and_read_a_row(benchmark: Any, tmp_path: Path) -> None:
    """Time to open a log still being written and take its last row, as a resumed run does."""
    with LogWriter(tmp_path / "run.h5", 0, [Wide]) as writer:
        for k in range(50):
            writer.append(an_epoch(k))
            writer.commit()

    def take() -> int:
        with open_log(tmp_path / "run.h5") as log:
            return len(log.epoch.row(-1).user)  # type: ignore[attr-defined]

    assert benchmark.pedantic(take, rounds=10, iterations=1) == PAIRS
