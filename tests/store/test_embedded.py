"""The embedded server: shared by all who use a folder, gone when nobody does, its data kept."""

import fcntl
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from pymongo import MongoClient

from domain.store import embedded
from domain.store.embedded import EmbeddedUnavailable, find_mongod, is_stopped, open_embedded

ROOT: Final = Path(__file__).parents[2]
PATIENCE_SECONDS: Final = 90

USER: Final = """
import sys, time
from pathlib import Path
from domain.store.embedded import open_embedded
print(open_embedded(Path(sys.argv[1])).url, flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    data = tmp_path / "data"
    yield data
    eventually(lambda: is_stopped(data))
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def start_user(folder: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that uses the server on `folder` and says its address."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        user = subprocess.Popen([sys.executable, "-c", USER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(user)
        return user

    yield start
    for user in started:
        user.kill()
        user.communicate()


def url_of(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return user.stdout.readline().strip()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "server.json").read_bytes())
    return state


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def write(url: str, number: int) -> None:
    with MongoClient[dict[str, Any]](url, w="majority", journal=True) as client:
        client["kept"]["numbers"].insert_one({"_id": number})


def read(url: str) -> list[int]:
    with MongoClient[dict[str, Any]](url) as client:
        return [document["_id"] for document in client["kept"]["numbers"].find().sort("_id")]


def port_of(url: str) -> int:
    return int(url.removeprefix("mongodb://127.0.0.1:").partition("/")[0])


@contextmanager
def stranger_at(port: int) -> Iterator[None]:
    """Another program that listens at the port and hangs up on whoever comes."""

    class Server(socketserver.TCPServer):
        allow_reuse_address = True

    with Server(("127.0.0.1", port), socketserver.BaseRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_two_processes_that_start_at_once_share_one_server(
    folder: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    users = [start_user() for _ in range(3)]

    urls = {url_of(user) for user in users}

    assert len(urls) == 1
    write(urls.pop(), 1)
    assert lives(state_of(folder)["pid"])


def test_the_server_stops_when_all_its_users_were_killed_and_its_data_is_kept(
    folder: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    users = [start_user(), start_user()]
    for number, user in enumerate(users):
        write(url_of(user), number)
    pid = state_of(folder)["pid"]

    users[0].kill()
    users[0].wait()
    time.sleep(0.6)
    assert lives(pid)
    users[1].kill()
    users[1].wait()
    eventually(lambda: is_stopped(folder))

    assert not lives(pid)
    with open_embedded(folder) as again:
        assert read(again.url) == [0, 1]


def test_the_server_comes_back_at_its_old_port_or_at_another_when_that_is_taken(folder: Path) -> None:
    with open_embedded(folder) as first:
        write(first.url, 1)
    eventually(lambda: is_stopped(folder))
    with open_embedded(folder) as second:
        assert second.url == first.url
    eventually(lambda: is_stopped(folder))

    with stranger_at(port_of(first.url)), open_embedded(folder) as third:
        assert third.url != first.url
        write(third.url, 2)
        assert read(third.url) == [1, 2]


def test_who_comes_while_the_server_goes_waits_and_gets_a_new_one(folder: Path) -> None:
    for number in range(3):
        with open_embedded(folder) as use:
            write(use.url, number)
        time.sleep(0.25)

    with open_embedded(folder) as last:
        assert read(last.url) == [0, 1, 2]


def test_a_server_that_was_killed_comes_back_for_its_users(folder: Path) -> None:
    with open_embedded(folder) as use:
        write(use.url, 1)
        pid = state_of(folder)["pid"]

        os.kill(pid, signal.SIGKILL)
        eventually(lambda: state_of(folder)["pid"] != pid)

        assert read(use.url) == [1]


def test_the_server_goes_with_its_keeper_and_the_next_user_gets_another(folder: Path) -> None:
    with open_embedded(folder) as use:
        write(use.url, 1)
        pid = state_of(folder)["pid"]
        keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not lives(pid))

        with open_embedded(folder) as other:
            assert read(other.url) == [1]


def test_a_missing_mongod_is_said_with_what_to_do_instead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(EmbeddedUnavailable) as refused:
        open_embedded(folder)

    assert "pip install 'member-wallet[embedded]'" in str(refused.value)
    assert "WALLET_MONGODB_URL" in str(refused.value)
    assert "docker run" in str(refused.value)
    assert not folder.exists()


def test_the_mongod_of_the_wheel_is_given_its_run_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mongod = tmp_path / "fiftyone" / "db" / "bin" / "mongod"
    mongod.parent.mkdir(parents=True)
    mongod.touch(0o644)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delitem(sys.modules, "fiftyone", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    assert find_mongod() == mongod
    assert os.access(mongod, os.X_OK)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo mongod: error while loading shared libraries: libcurl.so.4: cannot open >&2; exit 127",
            "apt-get install libcurl4",
        ),
        ("echo out of luck >&2; exit 3", "out of luck"),
    ],
)
def test_a_mongod_that_does_not_run_is_said_with_its_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    (tmp_path / "mongod").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "mongod").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(EmbeddedUnavailable, match=said):
        open_embedded(folder)

    assert is_stopped(folder)


def test_waiting_for_a_server_has_an_end(folder: Path) -> None:
    folder.mkdir(parents=True)
    held = embedded._lock(folder / "start.lock", fcntl.LOCK_EX, deadline=0)
    try:
        with pytest.raises(EmbeddedUnavailable, match=r"start\.lock was held by another process for too long"):
            open_embedded(folder, timeout_seconds=0.2)
    finally:
        os.close(held)
