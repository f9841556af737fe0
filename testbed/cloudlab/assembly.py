"""Puts the parts of the SA, of the CMs and of their dispatchers together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.cloudlab.callbacks.endpoint import Endpoint
from testbed.cloudlab.callbacks.revocations import Revocations
from testbed.cloudlab.callbacks.values import ValuePush
from testbed.cloudlab.cm.actions import ActionMethods
from testbed.cloudlab.cm.background import Background
from testbed.cloudlab.cm.cluster import ClusterMethods
from testbed.cloudlab.cm.creating import Creation
from testbed.cloudlab.cm.manager import ComponentManager, Surroundings
from testbed.cloudlab.cm.modifying import Modify
from testbed.cloudlab.cm.nodes import NodeMethods
from testbed.cloudlab.cm.reading import ReadMethods
from testbed.cloudlab.cm.renewal import RenewalMethods
from testbed.cloudlab.cm.statuses import StatusMethod
from testbed.cloudlab.cm.tickets import TicketMethods
from testbed.cloudlab.documents.credentials import Subject
from testbed.cloudlab.identities import (
    PROJECT,
    SA_DOMAIN,
    Identities,
    ssh_public_key,
    user_urn,
    user_uuid,
)
from testbed.cloudlab.sa.authority import SliceAuthority
from testbed.cloudlab.sa.records import Member
from testbed.cloudlab.sites import Generation, Site, User
from testbed.cloudlab.urn import Urn
from testbed.cloudlab.wire.dispatch import Dispatcher
from testbed.cloudlab.wire.doors import Doors
from testbed.cloudlab.wire.modules import Modules


@dataclass(frozen=True)
class SiteParts:
    """What belongs to one CM."""

    cm: ComponentManager
    nodes: NodeMethods
    background: Background
    revocations: Revocations
    values: ValuePush | None
    doors: Doors
    modify: Modify
    cluster: ClusterMethods
    endpoint: Endpoint | None = None


def make_sa(
    users: Sequence[User], ssh_key: Path, url: str, identities: Identities, around: Surroundings
) -> SliceAuthority:
    """Make the SA: all users are in the project; the first one has the SSH key."""
    first_key = ssh_public_key(ssh_key)
    members = [
        Member(
            user=user,
            urn=user_urn(user),
            uuid=user_uuid(user),
            subject=Subject(user_urn(user), identities.users[user.uid].certificate_base64),
            ssh_keys=(first_key,) if index == 0 else (),
        )
        for index, user in enumerate(users)
    ]
    return SliceAuthority(
        domain=SA_DOMAIN,
        projects={PROJECT: frozenset(user.uid for user in users)},
        members=members,
        identity=identities.sa,
        authority=identities.authority,
        clock=around.clock,
        mutex=around.mutex,
        url=url,
    )


def make_site(
    site: Site,
    names: Mapping[str, str],
    callback_url: str | None,
    identities: Identities,
    around: Surroundings,
    doors: Doors,
) -> SiteParts:
    """Make a CM with all its methods, and what calls the agent in its name.

    ``names`` are the names of its machines on this computer, by node_id.
    """
    identity = identities.cms[site.urn]
    cm = ComponentManager(site, names, identity, around)
    background = Background(cm)
    nodes = NodeMethods(cm, background)
    Creation(cm, background, nodes)
    ActionMethods(cm, background)
    ReadMethods(cm)
    StatusMethod(cm)
    RenewalMethods(cm)
    TicketMethods(cm, background, nodes)
    modify = Modify(cm, nodes, background)
    cluster = ClusterMethods(cm, {SA_DOMAIN})
    if callback_url is None:
        return SiteParts(cm, nodes, background, Revocations(cm, nodes, None), None, doors, modify, cluster)
    endpoint = Endpoint(
        callback_url,
        site.urn,
        identity.cert_path,
        identity.key_path,
        identities.authority.bundle,
        around.journal,
        calls=site.calls_back,
    )
    revocations, values = Revocations(cm, nodes, endpoint), ValuePush(cm, endpoint)
    return SiteParts(cm, nodes, background, revocations, values, doors, modify, cluster, endpoint)


def make_doors(generation: Generation, members: Collection[str], site: Site | None = None) -> Doors:
    """Make the doors of a CM, or of the SA, for the accounts of the SA's domain with these URNs."""

    def known_user(name: Urn) -> bool:
        return name.kind != "user" or name.domain != SA_DOMAIN or str(name) in members

    if site is None:
        return Doors("sa", generation, known_user, own_domain=SA_DOMAIN)
    return Doors("cm", generation, known_user, own_domain=site.domain)


def modules_of(parts: SiteParts, around: Surroundings) -> Modules:
    """Make what answers the calls to a CM: to itself, and to the module ``cluster`` that newer ones have."""
    main = dispatcher_for(parts.cm, parts.doors, (), around)
    if parts.cm.site.generation < 2021:
        return Modules(main, {})
    return Modules(main, {"cluster": dispatcher_for(parts.cluster, parts.doors, (), around, "cluster")})


def dispatcher_for(
    part: SliceAuthority | ComponentManager | ClusterMethods,
    doors: Doors,
    projects: Collection[str],
    around: Surroundings,
    module: str = "",
) -> Dispatcher:
    """Make the dispatcher of the SA or of a CM, or of another module behind a CM's doors.

    ``projects`` are those with a sub-authority of their own.
    """
    return Dispatcher(
        authority=part.urn,
        methods=part.methods,
        projects=projects,
        doors=doors,
        lock_of=part.lock_of,
        mutex=around.mutex,
        clock=around.clock,
        faults=around.faults,
        stopping=around.workers.stopping,
        journal=around.journal,
        module=module,
    )
