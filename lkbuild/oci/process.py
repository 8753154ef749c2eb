"""The `process` of a `config.json` (runtime-spec config.md#process)."""

from __future__ import annotations

from collections.abc import Mapping

from lkbuild.oci.field import Document, given, reading
from lkbuild.oci.image import RunConfig
from lkbuild.spec.model import ContainerConfig, NumericOrName
from lkbuild.spec.syntax import parse_capabilities, parse_rlimit

MAX_ID = (1 << 32) - 1


def process(config: ContainerConfig, image: RunConfig, ids: Mapping[str, int]) -> Document:
    """What is started and as whom.  `config` is entry over label; `ids` says which number a name means."""
    command = config.command if config.command is not None else image.entrypoint + image.cmd
    env = config.env if config.env is not None else image.env
    return given(
        {
            "user": _user(config, ids),
            "args": list(command),
            "env": list(env),
            "cwd": config.cwd or image.working_dir or "/",
            "capabilities": _capabilities(config),
            "rlimits": _rlimits(config),
            "noNewPrivileges": config.no_new_privileges or None,
            "oomScoreAdj": config.oom_score_adj,
        }
    )


def numeric_id(value: NumericOrName | None, ids: Mapping[str, int]) -> int:
    """The number of a uid or gid: a number stays, `root`, empty and not given are 0, a container's name is its id."""
    if value is None or value in ("", "root"):
        return 0
    if isinstance(value, str):
        if value not in ids:
            raise ValueError(f"{value!r} is neither a number nor the name of a container")
        return ids[value]
    if not 0 <= value <= MAX_ID:
        raise ValueError(f"{value} is no user or group id (wanted 0 to {MAX_ID})")
    return value


def _user(config: ContainerConfig, ids: Mapping[str, int]) -> Document:
    with reading("uid"):
        uid = numeric_id(config.uid, ids)
    with reading("gid"):
        gid = numeric_id(config.gid, ids)
    with reading("additional_gids"):
        more = [numeric_id(group, ids) for group in config.additional_gids or ()]
    return given({"uid": uid, "gid": gid, "additionalGids": more})


def _capabilities(config: ContainerConfig) -> Document:
    with reading("capabilities"):
        effective = parse_capabilities(config.capabilities or ())
    with reading("ambient"):
        ambient = parse_capabilities(config.ambient or ())
    # An ambient capability must be permitted and inheritable as well (capabilities(7)).
    bounding = sorted({*effective, *ambient})
    return given(
        {
            "bounding": bounding,
            "effective": list(effective),
            "inheritable": bounding,
            "permitted": bounding,
            "ambient": list(ambient),
        }
    )


def _rlimits(config: ContainerConfig) -> list[Document]:
    with reading("rlimits"):
        limits = [parse_rlimit(text) for text in config.rlimits or ()]
    return [{"type": name, "hard": hard, "soft": soft} for name, soft, hard in limits]
