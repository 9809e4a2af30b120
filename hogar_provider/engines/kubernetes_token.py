"""The tokens that the processes of graphs show each other, in Secrets of the namespace.

A graph's Secret is what its compiled objects name; whoever has made it before is heeded. Else it
holds the connection's password, or where that is empty one token for all graphs of the namespace,
made up once: then whoever may read that Secret may ask the graphs.
"""

from __future__ import annotations

import base64
import binascii
import secrets

from earg.security import LONGEST_TOKEN, SHORTEST_TOKEN
from hogar_provider.engines.kubernetes_api import SECRET, Api, ApiError, Object, labels_of
from hogar_provider.engines.kubernetes_apply import ENGINE, MANAGED_BY, PART_OF, owner
from udgl.targets._manifest import MANAGER, label_value

OWN_SECRET = "hogar-token"  # noqa: S105  the name of a Secret
"""The Secret of the namespace's token."""

KEY = "token"


async def graph_token(api: Api, graph: str, secret: str, token: str) -> str:
    """The token in the Secret of a graph, which is created where there is none; ``token`` is that
    of the connection. Raises :class:`ApiError`, also where a Secret holds no token."""
    found = await api.get(SECRET, secret)
    if found is None:
        wanted = token or await namespace_token(api)
        labels = {MANAGED_BY: MANAGER, PART_OF: label_value(graph), **owner(graph)}
        found = await _create(api, secret, labels, wanted)
    return read_token(found)


async def namespace_token(api: Api) -> str:
    """The token of all graphs that have none of their own, which is made up where there is none."""
    found = await api.get(SECRET, OWN_SECRET)
    if found is None:
        labels = {MANAGED_BY: MANAGER, **ENGINE}
        found = await _create(api, OWN_SECRET, labels, secrets.token_hex(32))
    return read_token(found)


async def delete_graph_token(api: Api, secret: str) -> None:
    """Delete the Secret of a graph, unless somebody else has made it."""
    found = await api.get(SECRET, secret)
    if found is not None and ENGINE.items() <= labels_of(found).items():
        await api.delete(SECRET, secret)


async def _create(api: Api, name: str, labels: dict[str, str], token: str) -> Object:
    try:
        return await api.create(
            {
                "apiVersion": SECRET.api_version,
                "kind": SECRET.kind,
                "metadata": {"name": name, "labels": labels},
                "type": "Opaque",
                "data": {KEY: base64.b64encode(token.encode()).decode()},
            }
        )
    except ApiError as error:
        # Somebody else was faster: theirs holds.
        if error.status != 409:
            raise
    found = await api.get(SECRET, name)
    if found is None:
        raise ApiError(f"Secret {name} was deleted while it was created; try again")
    return found


def read_token(secret: Object) -> str:
    """The token that a Secret holds; raises :class:`ApiError`, which does not tell it."""
    name = secret["metadata"]["name"]
    try:
        token = base64.b64decode((secret.get("data") or {})[KEY], validate=True).decode("ascii")
    except (KeyError, binascii.Error, UnicodeDecodeError):
        raise ApiError(f"Secret {name} has no key {KEY!r} with a token in ASCII") from None
    token = token.strip()
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN:
        raise ApiError(
            f"the token in Secret {name} is of {len(token)} characters; "
            f"{SHORTEST_TOKEN} to {LONGEST_TOKEN} are admitted"
        )
    return token
