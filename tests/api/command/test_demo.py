"""`make run`, as a newcomer meets it: once, what it says pasted, and once more."""

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wallet_command import ROOT, SAMPLE, WalletCommand, free_port, wallet_command

SECONDS = 240


@pytest.fixture
def wallet(server_url: str, worker_id: str) -> Iterator[WalletCommand]:
    with wallet_command(server_url, f"demo_{worker_id}") as command:
        yield command


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are for curl")
def test_the_demo_says_what_to_paste_and_goes_on_from_there_the_second_time(
    wallet: WalletCommand, tmp_path: Path
) -> None:
    script, receipts, port = a_script(tmp_path), some_receipts(tmp_path), free_port()
    arguments = [
        *(str(script), "demo", "--port", str(port)),
        *("--data", str(tmp_path / "data"), "--receipts", str(receipts)),
    ]
    environment = wallet.environment()
    outputs, answers = [], []

    for run in range(2):
        output = tmp_path / f"output-{run}"
        with output.open("wb") as file:
            demo = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=file, stderr=file)
        try:
            wait_for("Ctrl-C stops everything", output, demo)
            commands = pasted(output.read_text("utf-8"))
            answers.append(
                [
                    subprocess.run(
                        ["bash", "-c", each], env=environment, capture_output=True, text=True, check=True
                    ).stdout
                    for each in commands
                ]
            )
            wait_for(" · ANDROID shows: +12 points · ", output, demo)
            demo.send_signal(signal.SIGINT)
            assert demo.wait(SECONDS) == 0
        finally:
            demo.kill()
            demo.wait()
        outputs.append(output.read_text("utf-8"))

    assert outputs[0].splitlines()[1].startswith("20 recorded, 0 replayed, 0 refused · ")
    assert outputs[1].splitlines()[1].startswith("0 recorded, 20 replayed, 0 refused · ")
    for member, till, staff, seen, bought in answers:
        assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", member)
        assert json.loads(till)["token_type"] == "Bearer"
        assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", staff)
        assert json.loads(seen)["data"]["me"]["wallet"]["points"]["available"] > 100
        assert json.loads(bought)["data"]["recordPurchase"]["entry"]["points"] > 0


def test_a_port_that_is_taken_is_told_before_anything_is_started(wallet: WalletCommand, tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        outcome = wallet.run("demo", "--port", str(port), "--data", str(tmp_path / "data"))

    assert outcome.returncode == 1
    assert f"Port {port} on 127.0.0.1 is not available" in outcome.stderr
    assert not (tmp_path / "data").exists()


def a_script(folder: Path) -> Path:
    script = folder / "wallet"
    script.write_text(
        f"#!{sys.executable}\nfrom api.command.cli import main\nif __name__ == '__main__':\n    main()\n", "utf-8"
    )
    script.chmod(0o700)
    return script


def some_receipts(folder: Path) -> Path:
    file = folder / "receipts.jsonl"
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        file.write_text("".join(next(lines) for _ in range(20)), "utf-8")
    return file


def wait_for(text: str, output: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while text not in output.read_text("utf-8"):
        assert process.poll() is None, output.read_text("utf-8")
        assert time.monotonic() < deadline, output.read_text("utf-8")
        time.sleep(0.05)


def pasted(text: str) -> list[str]:
    """The commands that are printed, those over several lines put together."""
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("curl ") or f"{os.sep}wallet token" in line]
