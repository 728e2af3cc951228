"""The worker pool alone, with work that can be looked at."""

import functools

import numpy as np
import threadpoolctl

from mmssl.prepare import spool
from mmssl.prepare.pool import Limits, Pool

LIMITS = Limits(seconds=60, memory=2**32)


def note_threads(folder, task, begin, lost):
    begin(0)
    np.ones((64, 64)) @ np.ones((64, 64))
    counts = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    (folder / f"{task}").write_text(" ".join(map(str, counts)))


def test_a_worker_computes_in_one_thread(tmp_path):
    with (
        threadpoolctl.threadpool_limits(2),
        Pool(functools.partial(note_threads, tmp_path), workers=2, limits=LIMITS) as pool,
    ):
        assert sorted(pool.run(range(3))) == [0, 1, 2]
    counts = {int(count) for file in tmp_path.iterdir() for count in file.read_text().split()}
    assert counts == {1}
    assert len(list(tmp_path.iterdir())) == 3


def test_a_chunk_that_a_power_cut_left_half_there_is_done_again(tmp_path):
    path = tmp_path / "0.arrow"
    frame = spool.Frame(0, 0, "PNG", 4, 4, False, "00" * 32, "0" * 16, None, {}, {})
    assert not spool.is_there(path)
    spool.write(path, [spool.Row(frame, b"picture"), spool.Row(frame, b"another")])
    assert spool.is_there(path)
    whole = path.with_suffix(".bin").read_bytes()
    path.with_suffix(".bin").write_bytes(whole[:-1])
    assert not spool.is_there(path)
    path.with_suffix(".bin").write_bytes(whole)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert not spool.is_there(path)
