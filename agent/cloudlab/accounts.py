"""The accounts that new machines get, with their SSH keys: as the SA tells them, and as a CM takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.cloudlab.urn import Urn


@dataclass(frozen=True)
class UserKeys:
    """The SSH public keys of one account on the machines."""

    urn: str
    login: str
    keys: tuple[str, ...]


def read_account(item: Mapping[str, object]) -> UserKeys:
    """Read an item of ``GeniSA GetKeys``."""
    keys = item.get("keys")
    entries = keys if isinstance(keys, list) else []
    return UserKeys(
        urn=str(item.get("urn", "")),
        login=str(item.get("login", "")),
        keys=tuple(_ascii(str(k["key"])) for k in entries if isinstance(k, dict) and "key" in k),
    )


def named(account: UserKeys, caller: Urn) -> UserKeys:
    """Give an account the URN and the login that it lacks: newer CMs take none without (GeniCM.pm AddKeys).

    Args:
        account: as the SA told it.
        caller: who asked: an account without any name is his, and one of his domain else.
    """
    login = account.login or (_name(account.urn) if account.urn else caller.id)
    urn = account.urn or str(Urn(caller.authority, "user", login))
    return replace(account, urn=urn, login=login)


def account_argument(account: UserKeys) -> dict[str, object]:
    """Write an item of ``keys`` of ``GeniCMV2 CreateSliver``."""
    entry: dict[str, object] = {"keys": [{"type": "ssh", "key": key} for key in account.keys]}
    return entry | {k: v for k, v in (("urn", account.urn), ("login", account.login)) if v}


def _name(urn: str) -> str:
    try:
        return Urn.parse(urn).id
    except ValueError:
        return ""


def _ascii(key: str) -> str:
    """Drop from a key's comment what cannot be sent."""
    return "".join(c for c in key if c.isascii() and c.isprintable())
