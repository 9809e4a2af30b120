"""What is copied into a container before it starts: its token, and a trained model's files."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

from earg.platform import PlatformError
from hogar_provider.engines.docker_containers import SECRETS, TOKEN_FILE
from hogar_provider.engines.trained import FOLDER

MOST_PASSWD = 1024 * 1024
"""Bytes of an image's /etc/passwd that are read."""

IN_MEMORY = 8 * 1024 * 1024
"""Bytes of a trained model that are kept in memory while they are copied; a file holds more."""

Owner = tuple[int, int]


def owner_of(client: Any, container: str, image: str, user: str) -> Owner:
    """User and group id of a container's process, which alone may read its token. ``user`` is as
    Docker takes it, empty for the image's own. Raises PlatformError for a name that the image does
    not know."""
    said = user or str((client.inspect_image(image).get("Config") or {}).get("User") or "0")
    name, _, group = said.partition(":")
    if name.isdecimal():
        return int(name), int(group) if group.isdecimal() else 0
    for line in _passwd(client, container).splitlines():
        fields = line.split(":")
        if len(fields) > 3 and fields[0] == name and fields[2].isdecimal():
            return int(fields[2]), int(fields[3]) if fields[3].isdecimal() else 0
    raise PlatformError(
        f"image {image} runs as {name}, whom its /etc/passwd does not have; name the user by a "
        "number there, or set the engine's 'user'"
    )


def _passwd(client: Any, container: str) -> str:
    from docker.errors import NotFound

    try:
        parts, about = client.get_archive(container, "/etc/passwd")
    except NotFound:
        return ""
    if int(about.get("size", 0)) > MOST_PASSWD:
        return ""
    data = io.BytesIO(b"".join(parts))
    with tarfile.open(fileobj=data) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                return file.read(MOST_PASSWD).decode(errors="replace")
    return ""


def put_token(client: Any, container: str, token: str, owner: Owner) -> None:
    """Give a container that does not run yet its token, readable for its process alone."""
    data = token.encode()
    info = tarfile.TarInfo(Path(TOKEN_FILE).name)
    info.size, info.mode, (info.uid, info.gid) = len(data), 0o600, owner
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(info, io.BytesIO(data))
    client.put_archive(container, SECRETS, archive.getvalue())


def put_artifact(client: Any, container: str, folder: str, owner: Owner) -> None:
    """Copy a trained model's folder into a container; raises PlatformError where there is none."""
    found = Path(folder)
    if not found.is_dir():
        raise PlatformError(f"there is no trained model in {folder} to copy into the container")

    def owned(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.uid, info.gid = owner
        info.uname = info.gname = ""
        # No links and devices: what is copied is what training has handed over, its files.
        return info if info.isfile() or info.isdir() else None

    with tempfile.SpooledTemporaryFile(IN_MEMORY) as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            # A folder that is a link would be left out.
            tar.add(found.resolve(), FOLDER.lstrip("/"), filter=owned)
        archive.seek(0)
        spooled: IO[bytes] = archive
        client.put_archive(container, "/", spooled)
