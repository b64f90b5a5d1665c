"""What the README tells a newcomer to paste works as it is printed."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.wallet_command import PROGRAMME, ROOT, WalletCommand, free_port, wallet_command

README: Final = (ROOT / "README.md").read_text("utf-8")
EXAMPLES: Final = [
    re.sub(r"^ {4}", "", block, flags=re.MULTILINE)
    for block in re.findall(r"(?:^ {4}curl.*\n(?: {4}.*\n)*)", README, re.MULTILINE)
]


@pytest.fixture
def wallet(server_url: str, worker_id: str) -> Iterator[WalletCommand]:
    with wallet_command(server_url, f"readme_{worker_id}") as command:
        yield command


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are for curl")
def test_every_example_of_the_readme_works_as_printed(wallet: WalletCommand) -> None:
    port = free_port()
    with wallet.serving("--programme", str(PROGRAMME), "--start", "2017-01-01", port=port):
        base = f"http://127.0.0.1:{port}"
        tokens = {"TILL": till_token(wallet, base), **staff_and_member(base)}
        answers: list[dict[str, Any]] = []
        for example in EXAMPLES:
            text = example.replace("http://localhost:8000", base)
            if '\\"ID\\"' in text:
                text = text.replace('\\"ID\\"', f'\\"{answers[2]["data"]["enrolMember"]["member"]["id"]}\\"')
            done = subprocess.run(["bash", "-c", text], env=tokens, capture_output=True, text=True, check=True)
            answers.append(json.loads(done.stdout))

    assert [answer.get("errors") for answer in answers] == [None] * 6
    signed_in, seen, enrolled, recorded, adjusted, moved = (answer["data"] for answer in answers)
    assert signed_in["sandboxSignIn"]["accessToken"]
    assert seen["me"]["wallet"]["points"]["available"] == 100
    assert enrolled["enrolMember"]["isNew"] is True
    assert recorded["recordPurchase"]["entry"] == {"points": 12}
    assert recorded["recordPurchase"]["member"]["wallet"]["points"] == {"available": 112}
    assert adjusted["adjustBalance"]["member"]["wallet"]["points"] == {"available": 162}
    assert moved["advanceClock"]["now"].startswith("2018-06-15T12:00:00")


def test_every_command_of_the_readme_exists(wallet: WalletCommand) -> None:
    told = set(re.findall(r"^ {4}wallet (\w+)", README, re.MULTILINE))

    listed = wallet.run("--help").stdout

    assert told == {
        "serve",
        "worker",
        "init",
        "check",
        "schema",
        "replay",
        "audit",
        "reconcile",
        "report",
        "partner",
        "phone",
        "token",
    }
    assert {name for name in told if not re.search(rf"^  {name}\b", listed, re.MULTILINE)} == set()


def test_every_link_of_the_documents_leads_somewhere() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    dead = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^):]+)\)", document.read_text("utf-8"))
        if not (document.parent / target).exists()
    ]

    assert dead == []


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text("utf-8")))

    assert listed == {page.name for page in folder.glob("*.md")} - {"README.md"}


def till_token(wallet: WalletCommand, base: str) -> str:
    answer = httpx.post(f"{base}/oauth/token", data={"grant_type": "client_credentials"}, auth=wallet.till())
    return str(answer.json()["access_token"])


def staff_and_member(base: str) -> dict[str, str]:
    query = (
        'mutation { sandboxStaffToken(scopes: ["staff:adjust"]) '
        'sandboxSignIn(subject: "grace") { ... on Session { accessToken } } }'
    )
    data = httpx.post(f"{base}/graphql", json={"query": query}).json()["data"]
    return {
        "STAFF": data["sandboxStaffToken"],
        "MEMBER": data["sandboxSignIn"]["accessToken"],
        "PATH": os.defpath,
    }
