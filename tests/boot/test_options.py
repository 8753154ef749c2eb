"""What a machine is given when it is run: ports, a disk, metadata.  One boot for all of it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from lkbuild.engine.options import BuildOptions
from lkbuild.machine import media
from lkbuild.machine.guest import Guest, Machine
from lkbuild.machine.options import Disk, MachineOptions, parse_publish
from tests.boot.test_specs import SECONDS, SPECS
from tests.support.building import run
from tests.support.servers import free_port

pytestmark = [pytest.mark.boot, pytest.mark.network]

MORE = """\
services:
  - name: redis
    image: "@pkg:{packages}/redis"
files:
  # What metadata there is, how large the disk is, and a mark on it.
  - path: etc/init.d/015-look
    mode: "0755"
    contents: |
      #!/bin/sh
      mount -t iso9660 -o ro /dev/sr0 /mnt
      echo "config: $(cat /mnt/config)"
      umount /mnt
      echo "sda: $(cat /sys/block/sda/size) sectors"
      echo "the machine was here" >/dev/sda
      sync
"""
"""nginx.yml with redis beside it."""


def asked(port: int, question: bytes) -> bytes:
    """What redis answers; until it listens takes time."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(question)
                if answer := connection.recv(100):
                    return answer
        except OSError:
            time.sleep(1)
    return b""


def test_ports_a_disk_and_metadata(tmp_path: Path, cache: Path) -> None:
    more = tmp_path / "more.yml"
    more.write_text(MORE.format(packages=SPECS.parent / "pkg"))
    run(BuildOptions(machines=((SPECS / "nginx.yml", more),), cache=cache, directory=tmp_path))
    web, database, disk = free_port(), free_port(), tmp_path / "disk.raw"
    options = MachineOptions(
        memory=1024,
        cpus=2,
        accel="tcg",
        publish=(parse_publish(f"127.0.0.1:{web}:80"), parse_publish(f"127.0.0.1:{database}:6379/tcp")),
        disks=(Disk(disk, 64, "raw"),),
        data=b"hello from outside",
    )
    machine = Machine.of(options, media.find(tmp_path / "nginx"), tmp_path / "state")
    with Guest(machine, tmp_path / "console") as guest:
        assert guest.http_get(web, seconds=SECONDS).status == 200
        assert asked(database, b"PING\r\n") == b"+PONG\r\n"
        assert guest.powerdown(60), guest.console()
        console = guest.console()
    assert "config: hello from outside" in console
    assert f"sda: {(64 << 20) // 512} sectors" in console
    with disk.open("rb") as written:
        assert written.readline() == b"the machine was here\n"
