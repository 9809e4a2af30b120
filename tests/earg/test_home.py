"""The agent's folder is its user's alone: that is what keeps others from its socket."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from earg.client import AgentError, connect
from earg.environment import process_environment
from earg.home import Home, HomeError

pytestmark = pytest.mark.slow

NOBODY = 65534


def serve(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "earg.agent", "--home", str(home), "--idle-end", "0.2"],
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_folder_and_the_socket_are_the_users_alone(home: Path) -> None:
    with connect(home) as agent:
        for path in (home, agent.home.socket):
            found = path.stat()
            assert found.st_uid == os.getuid()
            assert found.st_mode & 0o077 == 0
        assert stat.S_ISSOCK(agent.home.socket.stat().st_mode)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o755, 0o777, 0o1777])
def test_no_agent_serves_in_a_folder_that_is_open_to_others(tmp_path: Path, mode: int) -> None:
    home = tmp_path / "earg"
    home.mkdir()
    home.chmod(mode)
    done = serve(home)
    assert done.returncode == 1
    assert done.stderr == (
        f"the agent's folder {home} is open to others (mode {mode:04o}); look what is in it, "
        f"then: chmod 700 {home}\n"
    )
    assert list(home.iterdir()) == []
    with pytest.raises(AgentError, match="is open to others"):
        connect(home)


def test_no_agent_serves_behind_a_link_or_in_a_file(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(real)
    assert "is a link" in serve(link).stderr
    file = tmp_path / "file"
    file.touch(mode=0o600)
    done = serve(file)
    assert done.returncode == 1
    assert "the agent's folder" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_no_agent_serves_in_somebody_elses_folder_and_no_client_trusts_their_socket(
    tmp_path: Path,
) -> None:
    home = tmp_path / "earg"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    done = serve(home)
    assert (done.returncode, "belongs to somebody else" in done.stderr) == (1, True)
    os.chown(home, 0, 0)
    os.mknod(home / "agent.sock", 0o600 | stat.S_IFSOCK)
    os.chown(home / "agent.sock", NOBODY, NOBODY)
    with pytest.raises(AgentError, match="belongs to somebody else"):
        connect(home, start=False)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_does_not_reach_the_agent(home: Path) -> None:
    # pytest's own folders are closed to others, so the home is looked at from inside them.
    code = (
        "import os, socket, sys\n"
        "os.chdir(sys.argv[1])\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "socket.socket(socket.AF_UNIX).connect('earg/agent.sock')\n"
    )
    with connect(home):
        for mode, words in ((0o700, "PermissionError"), (0o711, "PermissionError")):
            # The socket's own mode keeps others out, too, should the folder be opened later.
            home.chmod(mode)
            done = subprocess.run(
                [sys.executable, "-c", code, str(home.parent)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 1
            assert words in done.stderr
        home.chmod(0o700)


def test_a_home_is_created_closed(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "b")
    home.prepare()
    home.check()
    home.path.chmod(0o770)
    with pytest.raises(HomeError, match="chmod 700"):
        home.check()
