"""The files etc/passwd and etc/group of an image, from the users and groups a package names (passwd(5), group(5)).

Debian's maintainer scripts would make them; none runs here.
"""

from __future__ import annotations

from collections.abc import Iterable

from lkbuild.packages.build_file import Group, User

_NOBODY = 65534
_ROOT = User("root", 0, 0, "/root", "/bin/sh")
_OTHERS = User("nobody", _NOBODY, _NOBODY, "/nonexistent", "/usr/sbin/nologin")


def passwd(users: Iterable[User]) -> str:
    """etc/passwd: root, the users by uid, nobody; a user given by one of these names takes its place."""
    by_name = {user.name: user for user in (_ROOT, _OTHERS, *users)}
    return "".join(f"{_line(user)}\n" for user in sorted(by_name.values(), key=lambda u: (u.uid, u.name)))


def group(users: Iterable[User], groups: Iterable[Group]) -> str:
    """etc/group: one for each user that has no gid of another, and the groups given; sorted by gid."""
    by_name = {"root": Group("root", 0), "nogroup": Group("nogroup", _NOBODY)}
    given = tuple(groups)
    taken = {each.gid for each in given} | {0, _NOBODY}
    for user in users:
        gid = user.uid if user.gid is None else user.gid
        if gid not in taken:
            by_name[user.name] = Group(user.name, gid)
            taken.add(gid)
    by_name.update((each.name, each) for each in given)
    return "".join(
        f"{each.name}:x:{each.gid}:{','.join(each.members or ())}\n"
        for each in sorted(by_name.values(), key=lambda g: (g.gid, g.name))
    )


def _line(user: User) -> str:
    default = _ROOT if user.uid == 0 else _OTHERS
    gid = user.uid if user.gid is None else user.gid
    home = default.home if user.home is None else user.home
    shell = default.shell if user.shell is None else user.shell
    password = "*" if user.password is None else user.password
    return f"{user.name}:{password}:{user.uid}:{gid}:{user.comment or ''}:{home}:{shell}"
