"""specs/nginx.yml's SBOM beside what dpkg-query finds in the very trees that are laid down."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections import defaultdict
from pathlib import Path

import pytest

from lkbuild.engine.options import BuildOptions
from lkbuild.plan.contents import IN_IMAGE
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


def test_every_package_dpkg_finds_in_the_machine_and_no_other(out: Path, tmp_path: Path) -> None:
    records: dict[str, list[str]] = defaultdict(list)
    with tarfile.open(out / "nginx.tar") as tar:
        file = tar.extractfile(IN_IMAGE)
        assert file is not None
        assert file.read() == (out / "nginx.spdx.json").read_bytes()
        for info in tar:
            before, found, _ = info.name.partition(RECORDS)
            if found and info.isreg():
                file = tar.extractfile(info)
                assert file is not None
                place = before.removesuffix("/").removesuffix("/lower").removesuffix("/rootfs")
                records[place].append(file.read().decode())
    # Several init images lie at the root: a package some of them have in common is there once.
    tree = {place: queried(found, tmp_path / place.replace("/", "_")) for place, found in records.items()}
    assert set(tree) == {"", *PLACES}
    document = check_spdx((out / "nginx.spdx.json").read_bytes())
    packages = {package.spdx_id: package for package in document.packages}
    ours: dict[str, set[str]] = defaultdict(set)
    comments: dict[str, str] = {}
    for each in document.relationships:
        if each.spdx_element_id == "SPDXRef-machine":
            comments[each.related_spdx_element_id] = each.comment
    for each in document.relationships:
        one, other = each.spdx_element_id, each.related_spdx_element_id
        if one.startswith("SPDXRef-container-"):
            comments.setdefault(other, f"containers/{comments[one]}")
    for each in document.relationships:
        one, other = each.spdx_element_id, each.related_spdx_element_id
        if one.startswith("SPDXRef-image-"):
            place = comments[one]
            purl = packages[other].external_references[0].locator
            architecture = purl.partition("arch=")[2]
            key = "" if place.startswith("init[") else place
            ours[key].add(f"{packages[other].name} {packages[other].version} {architecture}")
    kernel = ours.pop("kernel")
    assert ours == tree
    assert any(name.startswith("linux-image-") for name in kernel)
    release = next(package.version for package in document.packages if package.spdx_id == "SPDXRef-kernel")
    assert any(name.startswith(f"linux-image-{release} ") for name in kernel), "the kernel is the one of its package"
