"""specs/nginx.yml's SBOM beside what dpkg-query finds in the very trees that are laid down."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from lkbuild.engine.options import IN_IMAGE, BuildOptions
from tests.support.building import run
from tests.support.documents import check_spdx

SPECS = Path(__file__).parents[2] / "specs"
RECORDS = "var/lib/dpkg/status.d/"
PLACES = ("containers/services/nginx", "containers/onboot/000-sysctl", "containers/onboot/001-dhcpcd")

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(not shutil.which("dpkg-query"), reason="dpkg-query says what is installed"),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine as a tar; LKBUILD_TEST_CACHE keeps the packages over runs."""
    kept = os.environ.get("LKBUILD_TEST_CACHE")
    directory = tmp_path_factory.mktemp("out")
    cache = Path(kept) if kept else tmp_path_factory.mktemp("cache")
    run(BuildOptions(machines=((SPECS / "nginx.yml",),), cache=cache, directory=directory, formats=("tar",)))
    return directory


def queried(records: list[str], directory: Path) -> set[str]:
    """What dpkg-query lists of a database made of these records, as `NAME VERSION ARCHITECTURE`."""
    (directory / "updates").mkdir(parents=True)
    (directory / "info").mkdir()
    stanzas = (record.strip().replace("\n", "\nStatus: install ok installed\n", 1) for record in records)
    (directory / "status").write_text("\n\n".join(stanzas) + "\n")
    command = ["dpkg-query", f"--admindir={directory}", "-W", "-f", "${Package} ${Version} ${Architecture}\n"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def in_the_tree(out: Path) -> dict[str, list[str]]:
    """The records of Debian packages in the machine's tar, by where their image lies ("" is the root)."""
    records: dict[str, list[str]] = defaultdict(list)
    with tarfile.open(out / "nginx.tar") as tar:
        for info in tar:
            before, found, _ = info.name.partition(RECORDS)
            file = tar.extractfile(info) if found and info.isreg() else None
            if file is not None:
                place = before.removesuffix("/").removesuffix("/lower").removesuffix("/rootfs")
                records[place].append(file.read().decode())
    return records


def in_the_document(document: Any) -> dict[str, set[str]]:
    """What the document says is in each image, by where it lies, as `NAME VERSION ARCHITECTURE`."""
    packages = {package.spdx_id: package for package in document.packages}
    pairs = [(each.spdx_element_id, each.related_spdx_element_id) for each in document.relationships]
    places = {each.related_spdx_element_id: each.comment for each in document.relationships if each.comment}
    places |= {other: f"containers/{places[one]}" for one, other in pairs if one.startswith("SPDXRef-container-")}
    found: dict[str, set[str]] = defaultdict(set)
    for one, other in pairs:
        if one.startswith("SPDXRef-image-"):
            place = "" if places[one].startswith("init[") else places[one]
            architecture = packages[other].external_references[0].locator.partition("arch=")[2]
            found[place].add(f"{packages[other].name} {packages[other].version} {architecture}")
    return found


def test_every_package_dpkg_finds_in_the_machine_and_no_other(out: Path, tmp_path: Path) -> None:
    """NB: several init images lie at the root; the kernel's image does not lie in the machine."""
    records = in_the_tree(out)
    tree = {place: queried(found, tmp_path / place.replace("/", "_")) for place, found in records.items()}
    assert set(tree) == {"", *PLACES}
    document = check_spdx((out / "nginx.spdx.json").read_bytes())
    ours = in_the_document(document)
    kernel = ours.pop("kernel")
    assert ours == tree
    release = next(package.version for package in document.packages if package.spdx_id == "SPDXRef-kernel")
    assert any(name.startswith(f"linux-image-{release} ") for name in kernel), "the kernel is the one of its package"


def test_the_document_in_the_machine_is_the_one_beside_it(out: Path) -> None:
    with tarfile.open(out / "nginx.tar") as tar:
        file = tar.extractfile(IN_IMAGE)
        assert file is not None
        assert file.read() == (out / "nginx.spdx.json").read_bytes()
