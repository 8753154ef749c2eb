"""What is told of a cache, in words."""

from __future__ import annotations

from lkbuild.engine.cache_views import Holding, MachineUse


def first_column(*machines: tuple[str, str]) -> list[str]:
    uses = tuple(MachineUse(name, (file,), 1, 10, 1) for name, file in machines)
    lines = list(Holding(uses, (), 0, 0, 0, 0, ()).words(False))
    return [line.partition("  ")[0].strip() for line in lines[1 : 1 + len(machines)]]


def test_machines_are_called_by_their_specs_and_told_apart_where_one_has_several() -> None:
    assert first_column(("nginx", "/a/nginx.yml"), ("redis", "/a/redis.yml")) == ["nginx.yml", "redis.yml"]
    assert first_column(("nginx", "/a/nginx.yml"), ("web", "/a/nginx.yml"), ("redis", "/a/redis.yml")) == [
        "nginx.yml (nginx)",
        "nginx.yml (web)",
        "redis.yml",
    ]
