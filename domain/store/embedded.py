"""The embedded server: one mongod, a replica set of one, on a folder of the user's choice.

Any number of processes use one folder. Each holds a shared lock on `users.lock` for as long as it lives; a
keeper process, started by the first of them, runs mongod and waits for an exclusive lock on the same file.
The kernel grants that as soon as no user lives any more, however the last one died; then the keeper stops
mongod and ends. Mongod dies with its keeper. The server listens on this machine only and asks for no
password: it is for development, tests and demonstrations. The data stays in the folder.

In the folder: `db/` the data, `server.json` the port and the keeper's last word, `mongod.log`, `keeper.log`,
and the locks `users.lock` (who uses it), `start.lock` (one start at a time), `keeper.lock` (one keeper).
"""

import ctypes
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from domain.failure import Failure

REPLICA_SET: Final = "wallet"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
CACHE_GIB: Final = "0.5"
OPLOG_MIB: Final = "512"
LOG_BYTES: Final = 16 * 2**20
RESTARTS: Final = 5
TRANSACTION_SECONDS: Final = 15
"""How long a transaction whose process died may keep others waiting; longer than any that lives."""

_POLL_SECONDS: Final = 0.02
_WATCH_SECONDS: Final = 0.2
_ALREADY_INITIALIZED: Final = 23
_PR_SET_PDEATHSIG: Final = 1
_DOCKER: Final = "docker run -d -p 27017:27017 mongo:8 --replSet wallet"


class EmbeddedUnavailable(Failure):
    """There is no embedded server to be had; the message says why and what to do instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}\n"
            "Instead, name a server in WALLET_MONGODB_URL. With docker:\n"
            f"  {_DOCKER}\n"
            "  docker exec $(docker ps -lq) mongosh --quiet --eval 'rs.initiate()'\n"
            "  export WALLET_MONGODB_URL='mongodb://127.0.0.1:27017/?directConnection=true'"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A use of the server at `url`; it runs at least until `close`, or the end of this process."""

    url: str
    _users_lock: int

    def close(self) -> None:
        """Gives up the use. The server stops when nobody uses it; call once."""
        os.close(self._users_lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_embedded(data: Path, timeout_seconds: float = START_SECONDS) -> Embedded:
    """Starts the server on the folder `data`, or joins the one that runs on it; blocks until it is ready.

    Raises EmbeddedUnavailable when there is no mongod, when it does not start, or after `timeout_seconds`.
    """
    folder = _Folder(data)
    deadline = time.monotonic() + timeout_seconds
    find_mongod()
    folder.root.mkdir(parents=True, exist_ok=True)
    users = _lock(folder.users, fcntl.LOCK_SH, deadline=deadline)
    try:
        start = _lock(folder.start, fcntl.LOCK_EX, deadline=deadline)
        try:
            state = _running(folder) or _start(folder, deadline)
        finally:
            os.close(start)
    except BaseException:
        os.close(users)
        raise
    return Embedded(url=_url(state.port), _users_lock=users)


def find_mongod() -> Path:
    """The mongod on the PATH, else the one in the wheel of the extra `embedded`.

    Raises EmbeddedUnavailable where there is neither.
    """
    if found := shutil.which("mongod"):
        return Path(found)
    spec = importlib.util.find_spec("fiftyone")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        mongod = Path(place) / "db" / "bin" / "mongod"
        if mongod.is_file():
            if not os.access(mongod, os.X_OK):
                mongod.chmod(mongod.stat().st_mode | 0o755)
            return mongod
    raise EmbeddedUnavailable(
        "There is no mongod on the PATH, and the wheel with one (pip install 'member-wallet[embedded]', "
        "for x86-64 Linux) is not installed."
    )


@dataclass(frozen=True, slots=True)
class _Folder:
    data: Path

    @property
    def root(self) -> Path:
        return self.data.absolute()

    @property
    def users(self) -> Path:
        return self.root / "users.lock"

    @property
    def start(self) -> Path:
        return self.root / "start.lock"

    @property
    def keeper(self) -> Path:
        return self.root / "keeper.lock"

    @property
    def state(self) -> Path:
        return self.root / "server.json"

    @property
    def keeper_log(self) -> Path:
        return self.root / "keeper.log"

    @property
    def mongod_log(self) -> Path:
        return self.root / "mongod.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What the keeper says: `ready` with a port, or `failure`, or neither while it starts."""

    port: int
    pid: int | None = None
    ready: bool = False
    failure: str | None = None


def _running(folder: _Folder) -> _State | None:
    """The state of the server that a living keeper keeps, if it is ready."""
    if _is_free(folder.keeper):
        return None
    state = _read_state(folder)
    return state if state is not None and state.ready else None


def _start(folder: _Folder, deadline: float) -> _State:
    """Starts a keeper, unless one is starting, and waits for its word. The caller holds `start.lock`."""
    if _is_free(folder.keeper):
        with folder.keeper_log.open("wb") as log:
            subprocess.run(
                [sys.executable, "-m", "domain.store.embedded", str(folder.root)],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                check=False,
                timeout=max(1.0, deadline - time.monotonic()),
            )
    while time.monotonic() < deadline:
        gone = _is_free(folder.keeper)
        state = _read_state(folder)
        if state is not None and state.failure is not None:
            raise EmbeddedUnavailable(state.failure)
        if gone:
            break
        if state is not None and state.ready:
            return state
        time.sleep(_POLL_SECONDS)
    raise EmbeddedUnavailable(
        f"The embedded server did not start; {folder.keeper_log} may say why.{_tail(folder.keeper_log)}"
    )


def _url(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/?directConnection=true"


def is_stopped(data: Path) -> bool:
    """Whether no server runs on the folder `data` and none is being stopped."""
    folder = _Folder(data)
    return not folder.keeper.exists() or _is_free(folder.keeper)


# The keeper: a process of its own from here on.


def keep(data: Path) -> None:
    """Runs the server until nobody uses it, in a detached child of the calling process, which ends here."""
    folder = _Folder(data)
    keeper = _try_lock(folder.keeper, fcntl.LOCK_EX)
    if keeper is None:
        return
    previous = _read_state(folder)
    port = previous.port if previous else 0
    _write_state(folder, _State(port=port))
    if os.fork():
        os._exit(0)
    try:
        _keep(folder, port)
    except _NotStarted as error:
        _write_state(folder, _State(port=port, failure=str(error)))
        raise SystemExit(1) from None
    finally:
        os.close(keeper)


class _NotStarted(Exception):  # noqa: N818 -- as above
    pass


def _keep(folder: _Folder, port: int) -> None:
    users: int | None = None
    for _ in range(1 + RESTARTS):
        mongod, port = _started_mongod(folder, port)
        _write_state(folder, _State(port=port, pid=mongod.pid, ready=True))
        while mongod.poll() is None and users is None:
            time.sleep(_WATCH_SECONDS)
            _bound_log(folder, mongod)
            users = _try_lock(folder.users, fcntl.LOCK_EX)
        if users is not None:
            _write_state(folder, _State(port=port))
            _stop(mongod)
            os.close(users)
            return
    raise _NotStarted(f"The embedded server ended {RESTARTS} times by itself; {folder.mongod_log} may say why.")


def _started_mongod(folder: _Folder, port: int) -> tuple[subprocess.Popen[bytes], int]:
    """A mongod that can be written to, and its port: `port` if it is free. Raises _NotStarted."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        port = port if port and _can_listen(port) else _free_port()
        mongod = _spawn_mongod(folder, port)
        if _became_primary(mongod, port, deadline):
            return mongod, port
        _stop(mongod)
        reason = _why(folder)
        if reason.transient and time.monotonic() < deadline:
            time.sleep(_WATCH_SECONDS)
            continue
        raise _NotStarted(reason.text)


def _spawn_mongod(folder: _Folder, port: int) -> subprocess.Popen[bytes]:
    database = folder.root / "db"
    database.mkdir(exist_ok=True)
    for log in folder.root.glob("mongod.log*"):
        log.unlink()
    keeper = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def die_with_keeper() -> None:
        """The signal follows the thread that forked: the keeper's main thread, so the keeper."""
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != keeper:
                os._exit(1)

    return subprocess.Popen(
        [
            str(find_mongod()),
            *("--dbpath", str(database)),
            *("--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"),
            *("--replSet", REPLICA_SET, "--oplogSize", OPLOG_MIB),
            *("--wiredTigerCacheSizeGB", CACHE_GIB),
            *("--logpath", str(folder.mongod_log), "--quiet", "--slowms", "5000"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
            *("--setParameter", f"transactionLifetimeLimitSeconds={TRANSACTION_SECONDS}"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr.fileno(),
        cwd=folder.root,
        preexec_fn=die_with_keeper,  # noqa: PLW1509 -- the keeper has one thread at this point
    )


def _became_primary(mongod: subprocess.Popen[bytes], port: int, deadline: float) -> bool:
    """Waits for the server and makes it the only member of its replica set, whatever port it had before."""
    host = f"127.0.0.1:{port}"
    client: MongoClient[dict[str, Any]] = MongoClient(_url(port), serverSelectionTimeoutMS=1000)
    try:
        while mongod.poll() is None and time.monotonic() < deadline:
            with suppress(PyMongoError):
                hello = client.admin.command("hello")
                if hello.get("isWritablePrimary"):
                    return True
                if "setName" not in hello:
                    _form_set(client, host)
            time.sleep(_POLL_SECONDS)
        return False
    finally:
        client.close()


def _form_set(client: MongoClient[dict[str, Any]], host: str) -> None:
    """Initiates a fresh server; one whose data was at another port no longer finds itself in its set."""
    members = [{"_id": 0, "host": host}]
    try:
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise
        config = client.admin.command("replSetGetConfig")["config"]
        if config["members"][0]["host"] != host:
            changed = config | {
                "version": config["version"] + 1,
                "members": [config["members"][0] | {"host": host}],
            }
            client.admin.command("replSetReconfig", changed, force=True)


def _stop(mongod: subprocess.Popen[bytes]) -> None:
    mongod.terminate()
    try:
        mongod.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        mongod.kill()
        mongod.wait(STOP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reason:
    text: str
    transient: bool


def _why(folder: _Folder) -> _Reason:
    """Why mongod ended, from what it wrote."""
    said = _tail(folder.keeper_log)
    if "error while loading shared libraries" in said:
        library = said.split("error while loading shared libraries:", 1)[1].split(":", 1)[0].strip()
        package = "libcurl4" if library.startswith("libcurl") else f"the package that holds {library}"
        return _Reason(
            text=f"The mongod {find_mongod()} needs the library {library}, which is missing.\n"
            f"On Debian and Ubuntu: apt-get install {package}",
            transient=False,
        )
    logged = _tail(folder.mongod_log)
    transient = "DBPathInUse" in logged or "Address already in use" in logged
    return _Reason(text=f"The embedded server did not start.{said}{logged}", transient=transient)


def _bound_log(folder: _Folder, mongod: subprocess.Popen[bytes]) -> None:
    """At SIGUSR1 mongod begins a new log file and renames the old one; only one old one is kept."""
    old = sorted(folder.root.glob("mongod.log.*"))
    for log in old[:-1]:
        log.unlink()
    if folder.mongod_log.exists() and folder.mongod_log.stat().st_size > LOG_BYTES:
        mongod.send_signal(signal.SIGUSR1)


# Files, locks and ports.


def _lock(path: Path, kind: int, *, deadline: float) -> int:
    """The lock `kind` on `path`, held until the descriptor is closed.

    Raises EmbeddedUnavailable at the deadline.
    """
    while (descriptor := _try_lock(path, kind)) is None:
        if time.monotonic() >= deadline:
            raise EmbeddedUnavailable(f"The lock {path} was held by another process for too long.")
        time.sleep(_POLL_SECONDS)
    return descriptor


def _try_lock(path: Path, kind: int) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_free(path: Path) -> bool:
    descriptor = _try_lock(path, fcntl.LOCK_SH)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _read_state(folder: _Folder) -> _State | None:
    try:
        return _State(**json.loads(folder.state.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _write_state(folder: _Folder, state: _State) -> None:
    draft = folder.state.with_suffix(".new")
    draft.write_text(json.dumps({name: getattr(state, name) for name in state.__dataclass_fields__}))
    draft.replace(folder.state)


def _tail(path: Path, limit: int = 2000) -> str:
    with suppress(OSError):
        text = path.read_bytes()[-limit:].decode(errors="replace").strip()
        return f"\n{text}" if text else ""
    return ""


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
