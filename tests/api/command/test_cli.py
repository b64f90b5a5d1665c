"""What an operator types, and what comes back: real processes on the tests' server."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from api.schema import sdl
from tests.wallet_command import HTTP, PROGRAMME, ROOT, WalletCommand, free_port, wallet_command


@pytest.fixture
def wallet(server_url: str, worker_id: str) -> Iterator[WalletCommand]:
    with wallet_command(server_url, f"cli_{worker_id}") as command:
        yield command


def ask(port: int, query: str, token: str | None = None) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer: dict[str, Any] = HTTP.post(
        f"http://127.0.0.1:{port}/graphql", json={"query": query}, headers=headers
    ).json()
    return answer


def test_init_publishes_version_1_and_doing_it_again_changes_nothing(wallet: WalletCommand) -> None:
    first = wallet.run("init", "--programme", str(PROGRAMME))
    second = wallet.run("init", "--programme", str(PROGRAMME))

    assert (first.returncode, first.stdout) == (0, "Published corner as version 1.\n")
    assert (second.returncode, second.stdout) == (0, "Version 1 is in force; nothing to do.\n")


def test_init_says_what_is_wrong_with_a_programme_and_publishes_nothing(
    wallet: WalletCommand, server_url: str, tmp_path: Path
) -> None:
    broken = tmp_path / "programme.yaml"
    broken.write_text(PROGRAMME.read_text("utf-8").replace("currency: USD", "currency: XYZ"), "utf-8")

    outcome = wallet.run("init", "--programme", str(broken))

    assert outcome.returncode == 1
    assert "error: currency: " in outcome.stderr
    with MongoClient[dict[str, Any]](server_url) as client:
        assert client[wallet.variables["WALLET_DATABASE"]].programmes.count_documents({}) == 0


def test_check_needs_no_settings_and_its_exit_code_is_the_answer(wallet: WalletCommand, tmp_path: Path) -> None:
    broken = tmp_path / "programme.yaml"
    broken.write_text("programme: corner\n", "utf-8")

    good = wallet.run("check", str(PROGRAMME), WALLET_MODE="production")
    bad = wallet.run("check", str(broken), WALLET_MODE="production")

    assert (good.returncode, good.stdout) == (0, f"{PROGRAMME} can be published.\n")
    assert bad.returncode == 1
    assert "error: currency: " in bad.stderr
    assert "error: time_zone: " in bad.stderr


def test_a_programme_that_is_no_utf_8_is_told_so(wallet: WalletCommand, tmp_path: Path) -> None:
    latin = tmp_path / "programme.yaml"
    latin.write_bytes("programme: café\n".encode("latin-1"))

    told = [wallet.run("check", str(latin)), wallet.run("init", "--programme", str(latin))]

    assert [(each.returncode, each.stdout) for each in told] == [(1, "")] * 2
    assert [each.stderr for each in told] == [
        "error: the file: The text is not valid Unicode; save the file as UTF-8.\n"
    ] * 2


def test_every_wrong_setting_and_flag_is_told_in_a_line_of_its_own(wallet: WalletCommand) -> None:
    outcome = wallet.run(
        "serve", "--start", "yesterday", "--processes", "0", "--data", str(PROGRAMME), WALLET_DATABASE="a b"
    )

    assert outcome.returncode == 2
    assert outcome.stderr.splitlines() == [
        "wallet: --start is 'yesterday'; it should be a date, or an instant such as 2017-01-01T05:00:00Z",
        "wallet: --processes is 0; it should be 1 to 64",
        "wallet: WALLET_DATABASE is 'a b'; it should be 1 to 63 letters, digits, _ or -",
        f"wallet: --data is '{PROGRAMME}', which is a file; it should be a folder, made if it does not exist",
    ]


def test_production_has_no_tokens_for_the_asking_and_no_clock_to_set(wallet: WalletCommand) -> None:
    production = {
        "WALLET_MODE": "production",
        "WALLET_SECRET": "0123456789abcdef0123456789abcdef",
        "WALLET_PUBLIC_URL": "https://wallet.example.com",
    }

    token = wallet.run("token", "staff", "--scopes", "staff:members", **production)
    start = wallet.run("serve", "--start", "2017-01-01", **production)

    assert (token.returncode, token.stdout) == (2, "")
    assert "only a sandbox gives tokens" in token.stderr
    assert start.returncode == 2
    assert "--start moves a sandbox's clock" in start.stderr


def test_the_schema_is_printed_with_what_a_sandbox_has(wallet: WalletCommand) -> None:
    printed = wallet.run("schema", WALLET_MODE="production")

    assert printed.returncode == 0
    assert printed.stdout == sdl()
    assert "advanceClock" in printed.stdout


def test_serving_without_a_programme_says_how_to_publish_one(wallet: WalletCommand) -> None:
    outcome = wallet.run("serve", "--port", str(free_port()))

    assert outcome.returncode == 1
    assert "wallet init --programme FILE" in outcome.stderr


def test_a_port_that_is_taken_is_named(wallet: WalletCommand) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        outcome = wallet.run("serve", "--port", str(port))

    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"wallet: Port {port} on 127.0.0.1 is not available: Address already in use. "
        "Stop what uses it, or choose another with --port.\n"
    )


def test_a_sandbox_begins_when_told_and_its_tokens_hold(wallet: WalletCommand) -> None:
    port = free_port()
    with wallet.serving("--programme", str(PROGRAMME), "--start", "2017-01-01", port=port) as server:
        url = f"http://localhost:{port}"
        token = wallet.run("token", "staff", "--scopes", "staff:members", "--url", url).stdout.strip()
        client_id, secret = wallet.till()
        partner = HTTP.post(
            f"http://127.0.0.1:{port}/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(client_id, secret),
        )
        found = ask(port, '{ member(by: {reference: "nobody"}) { id } }', token)
        moved = ask(port, 'mutation { advanceClock(to: "2017-01-01T08:00:00Z") { now } }')
        session = ask(port, 'mutation { sandboxSignIn(subject: "ada") { ... on Session { accessToken } } }')
        with open_streams(port, session["data"]["sandboxSignIn"]["accessToken"]) as (socket, events):
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            exit_code = server.wait(60)
            with pytest.raises(ConnectionClosed) as told:
                socket.recv()
            rest = b"".join(events)

    assert told.value.rcvd is not None
    assert (told.value.rcvd.code, rest) == (1012, b"")
    assert found == {"data": {"member": None}, **{name: found[name] for name in found.keys() - {"data"}}}
    assert "errors" not in found
    assert partner.json()["scope"] == "activity:write members:enrol members:read wallet:read"
    assert moved["data"]["advanceClock"]["now"].startswith("2017-01-01T08:00:00")
    assert exit_code == 0
    assert time.monotonic() - began < 30


@contextmanager
def open_streams(port: int, token: str) -> Iterator[tuple[ClientConnection, Iterator[bytes]]]:
    """A subscription over WebSocket and one as server-sent events, both begun."""
    query, authorization = "subscription { walletChanged { version } }", {"Authorization": f"Bearer {token}"}
    address, protocol = f"127.0.0.1:{port}/graphql", Subprotocol("graphql-transport-ws")
    headers = authorization | {"Accept": "text/event-stream"}
    with (
        connect(f"ws://{address}/ws", subprotocols=[protocol]) as socket,
        HTTP.stream("POST", f"http://{address}", json={"query": query}, headers=headers, timeout=60) as response,
    ):
        socket.send(json.dumps({"type": "connection_init", "payload": authorization}))
        assert json.loads(socket.recv())["type"] == "connection_ack"
        socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
        events = response.iter_raw()
        assert next(events).startswith(b":")
        yield socket, events


def wait_until_live(port: int) -> None:
    """Until somebody listens: the one that was killed may have been the first to."""
    deadline = time.monotonic() + 90
    while True:
        with suppress(httpx.ConnectError):
            HTTP.get(f"http://127.0.0.1:{port}/live")
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_several_processes_share_a_port_and_one_that_dies_is_replaced(wallet: WalletCommand) -> None:
    port = free_port()
    with wallet.serving("--programme", str(PROGRAMME), "--processes", "2", port=port) as server:
        before = served_by(server.pid)
        subprocess.run(["kill", "-KILL", str(before[0])], check=True)
        after = wait_for_two(server.pid, without=before[0])
        wait_until_live(port)
        answers = [HTTP.get(f"http://127.0.0.1:{port}/live").status_code for _ in range(20)]
        server.send_signal(signal.SIGINT)
        exit_code = server.wait(60)

    assert len(before) == 2
    assert before[1] in after
    assert answers == [200] * 20
    assert exit_code == 0
    assert served_by(server.pid) == []


def test_processes_end_when_their_supervisor_is_killed(wallet: WalletCommand) -> None:
    port = free_port()
    with wallet.serving("--programme", str(PROGRAMME), "--processes", "2", port=port) as server:
        children = wait_for_two(server.pid)
        server.kill()
        server.wait()
        deadline = time.monotonic() + 90
        while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
            time.sleep(0.05)

    assert [child for child in children if Path(f"/proc/{child}").exists()] == []


def test_a_worker_works_until_it_is_told_to_stop(wallet: WalletCommand, server_url: str) -> None:
    assert wallet.run("init", "--programme", str(PROGRAMME)).returncode == 0
    database = wallet.variables["WALLET_DATABASE"]

    worker = subprocess.Popen(wallet.command("worker"), cwd=ROOT, env=wallet.environment())
    with MongoClient[dict[str, Any]](server_url) as client:
        deadline = time.monotonic() + 90
        while client[database].leases.count_documents({"owner": {"$ne": None}, "fence": {"$gt": 0}}) < 64:
            assert worker.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        worker.terminate()
        exit_code = worker.wait(60)
        held = client[database].leases.count_documents({"owner": {"$ne": None}, "fence": {"$gt": 0}})

    assert exit_code == 0
    assert held == 0


def test_the_audit_of_an_empty_wallet_house_is_well(wallet: WalletCommand) -> None:
    outcome = wallet.run("audit")

    assert outcome.returncode == 0
    assert outcome.stdout.startswith("All is well: 0 wallets")


def test_the_phones_of_a_member_without_any_are_not_waited_for(wallet: WalletCommand) -> None:
    outcome = wallet.run("phone", "--member", "nobody")

    assert outcome.returncode == 2
    assert outcome.stderr == "wallet: --member is nobody, who has no device; registerDevice gives him one\n"


def test_credentials_that_cannot_be_used_are_named_before_anything_is_opened(
    wallet: WalletCommand, tmp_path: Path
) -> None:
    account = tmp_path / "account.json"
    account.write_text("{}", "utf-8")

    outcome = wallet.run("worker", WALLET_FIREBASE_CREDENTIALS=str(account))

    assert outcome.returncode == 2
    assert outcome.stderr.startswith("wallet: WALLET_FIREBASE_CREDENTIALS cannot be used: ")


def test_the_report_is_printed_a_number_a_line(wallet: WalletCommand) -> None:
    assert wallet.run("init", "--programme", str(PROGRAMME)).returncode == 0

    printed = wallet.run("report", "--from", "2026-01-01", "--to", "2027-01-01")
    wrong = wallet.run("report", "--from", "2026-01-01", "--to", "2026-01-01")

    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert lines[0].split() == ["members", "0"]
    assert lines[4].split() == ["spend", "0.00", "USD"]
    named = [line.split()[:2] for line in lines]
    assert [name for what, name in named if what == "tier"] == ["bronze", "silver", "gold", "vip"]
    assert "welcome" in [name for what, name in named if what == "cascade"]
    assert wrong.returncode == 2
    assert wrong.stderr == "wallet: --to is 2026-01-01; it should be after --from\n"


def test_a_cascade_is_simulated_in_readable_lines_and_what_is_wrong_is_named(wallet: WalletCommand) -> None:
    port = free_port()
    with wallet.serving("--programme", str(PROGRAMME), "--start", "2017-07-01T18:00:00Z", port=port):
        signed_in = ask(port, 'mutation { sandboxSignIn(subject: "ada") { ... on Session { member { id } } } }')
        member = signed_in["data"]["sandboxSignIn"]["member"]["id"]

    simulate = ("cascade", "simulate", "earned", "--member", member, "--at", "2017-07-02T16:00:00Z")
    told = wallet.run(*simulate, "--event", "points=12", "--event", "amount=12.34")
    wrong = [
        wallet.run("cascade", "simulate", "none", "--member", member),
        wallet.run(*simulate, "--event", "colour=red"),
    ]

    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == [
        f"earned for {member}: version 1, TREATED, times in America/New_York, texts in en",
        "2017-07-02 12:00 EDT             started: purchase",
        "2017-07-02 12:00 EDT    step 0   not sent: unreachable: PUSH",
        "                                 +12 points",
        "                                 Thank you! You have 100 points now.",
        "                                 corner://activity",
        "2017-07-02 12:00 EDT             done",
        "It ends DONE; 0 messages would go. Nothing was sent.",
    ]
    assert {outcome.returncode for outcome in wrong} == {2}
    assert [outcome.stderr.split(";")[0].removesuffix("\n") for outcome in wrong] == [
        "wallet: There is no cascade none",
        "wallet: --event: The event purchase has no fact colour",
    ]


def test_a_wrong_scope_is_named_with_those_that_there_are(wallet: WalletCommand) -> None:
    outcome = wallet.run("partner", "create", "Till", "--scopes", "members:enrol,money:print")

    assert outcome.returncode == 2
    assert outcome.stderr.startswith("wallet: --scopes: Not a partner's scope: money:print. There are activity:write")


def served_by(supervisor: int) -> list[int]:
    """The supervisor's living children that serve."""
    found = subprocess.run(["pgrep", "-P", str(supervisor), "-f", "spawn_main"], capture_output=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def wait_for_two(supervisor: int, without: int | None = None) -> list[int]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        children = [pid for pid in served_by(supervisor) if pid != without]
        if len(children) == 2:
            return children
        time.sleep(0.05)
    raise AssertionError("there are no two processes")
