"""The lease on disk: written by the daemon, read by the keeper, whole at any moment."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time

from drcm.cluster.lease_file import Lease, LeaseFile, LeaseReader


def test_what_is_written_is_read_by_another_process(tmp_path):
    file = LeaseFile(tmp_path / "run" / "lease")
    file.write(12.5, 13.5)
    text = (
        "import sys, pathlib; from drcm.cluster.lease_file import LeaseReader;"
        "print(LeaseReader(pathlib.Path(sys.argv[1])).read())"
    )
    argv = [sys.executable, "-c", text, tmp_path / "run" / "lease"]
    assert subprocess.check_output(argv, text=True).strip() == str(Lease(os.getpid(), 12.5, 13.5))
    file.close()


def test_a_reader_that_waits_sees_each_new_deadline(tmp_path):
    file, reader = LeaseFile(tmp_path / "lease"), LeaseReader(tmp_path / "lease")
    assert reader.read() == Lease()
    file.write(1.0, 2.0)
    assert reader.read() == Lease(os.getpid(), 1.0, 2.0)
    file.write(0.0, 0.0)
    assert reader.read() == Lease(os.getpid(), 0.0, 0.0)


def test_there_is_no_lease_before_a_daemon_ran(tmp_path):
    reader = LeaseReader(tmp_path / "lease")
    assert reader.read() == Lease()
    assert reader.held() == []


def test_a_new_daemon_goes_on_from_the_lease_of_the_former(tmp_path):
    LeaseFile(tmp_path / "lease").write(5.0, 6.0)
    again = LeaseFile(tmp_path / "lease")
    reader = LeaseReader(tmp_path / "lease")
    assert reader.read().address_deadline == 5.0
    again.write(7.0, 8.0)
    assert reader.read().address_deadline == 7.0


def test_a_daemon_that_died_while_writing_leaves_the_deadline_before(tmp_path):
    file, reader = LeaseFile(tmp_path / "lease"), LeaseReader(tmp_path / "lease")
    file.write(5.0, 6.0)
    assert reader.read().address_deadline == 5.0
    with (tmp_path / "lease").open("r+b") as raw:
        raw.seek(8)
        raw.write(struct.pack("=QQd", 2, os.getpid(), 99.0))  # all but the closing counter
    assert reader.read().address_deadline == 5.0


def test_a_file_that_is_not_a_lease_gives_none(tmp_path):
    (tmp_path / "lease").write_bytes(b"x" * 4096)
    assert LeaseReader(tmp_path / "lease").read() == Lease()
    (tmp_path / "lease").write_bytes(b"")
    assert LeaseReader(tmp_path / "lease").read() == Lease()


def test_what_is_held_is_replaced_whole(tmp_path):
    file, reader = LeaseFile(tmp_path / "lease"), LeaseReader(tmp_path / "lease")
    file.write_held([{"phase": "address", "ip": "10.0.0.1"}])
    assert reader.held() == [{"phase": "address", "ip": "10.0.0.1"}]
    file.write_held([])
    assert reader.held() == []
    assert sorted(os.listdir(tmp_path)) == ["held.json", "lease"]


def test_writing_is_no_burden_on_the_main_loop(tmp_path):
    file = LeaseFile(tmp_path / "lease")
    began = time.process_time()  # of the processor: the machine is shared
    for number in range(1000):
        file.write(number, number)
    assert (time.process_time() - began) / 1000 < 0.0002
