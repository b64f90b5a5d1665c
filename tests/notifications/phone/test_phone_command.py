"""`wallet phone`, as its user runs it: on a port of its own, and beside one that runs already."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.notifications.phones import Phones
from tests.wallet_command import ROOT, WalletCommand, free_port

MESSAGE = {
    "fid": "phone-1",
    "notification": {"title": "+12 points", "body": "Thank you!"},
    "data": {"delivery_id": "one", "link": "corner://activity"},
    "android": {"notification": {"tag": "one"}},
}
RECALL = {"fid": "phone-1", "data": {"delivery_id": "one", "recalls": "true"}, "android": {}}


@contextmanager
def phone_command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = WalletCommand(variables={})
    process = subprocess.Popen(
        command.command("phone", *arguments), cwd=ROOT, env=command.environment(), text=True, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def port_of(phones: Phones) -> str:
    return phones.url.rpartition(":")[2]


def send(phones: Phones, message: object) -> None:
    answered = phones.http.post(
        "/v1/projects/x/messages:send", json={"message": message}, headers={"Authorization": "Bearer x"}
    )
    assert answered.status_code == 200


def test_whoever_comes_second_watches_the_same_phones_line_by_line(phones: Phones) -> None:
    with ExitStack() as stack:
        all_, one = (
            stack.enter_context(phone_command("--port", port_of(phones), *only)) for only in ((), ("--endpoint", "p-2"))
        )
        assert said(all_) == said(one) == f"Phones    {phones.url}/  (they were running before)"
        phones.wait_for_watchers(2)

        send(phones, MESSAGE)
        send(phones, RECALL)
        send(phones, MESSAGE | {"fid": "p-2"})

        lines = [said(all_)[10:] for _ in range(3)]
        assert said(one)[10:] == lines[2]
        all_.send_signal(signal.SIGINT)
        assert all_.wait(60) == 0

    assert lines == [
        "phone-1 · ANDROID shows: +12 points · Thank you! · corner://activity",
        "phone-1 · ANDROID takes away: +12 points · Thank you! · corner://activity",
        "p-2 · ANDROID shows: +12 points · Thank you! · corner://activity",
    ]


def test_a_port_that_something_else_has_is_named(tmp_path: Path) -> None:
    port = free_port()
    other = subprocess.Popen(
        ["python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", str(port)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert other.stdout is not None
        other.stdout.readline()
        outcome = WalletCommand(variables={}).run("phone", "--port", str(port))
    finally:
        other.kill()
        other.communicate()

    assert outcome.returncode == 1
    assert outcome.stderr == f"wallet: There are no phones at http://127.0.0.1:{port}; `wallet phone` starts them.\n"
