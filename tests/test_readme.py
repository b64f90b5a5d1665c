"""What the README tells a newcomer to paste works as it is printed."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.api.auth.partner_app import challenge, in_address
from tests.wallet_command import HTTP, PROGRAMME, ROOT, WalletCommand, free_port, wallet_command

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
        till = {"TILL": till_token(wallet, base)}
        granted = as_a_partner_would(base)
        answers: list[dict[str, Any]] = []
        for example in (each for each in EXAMPLES if "/oauth/" not in each):
            text = example.replace("http://localhost:8000", base)
            if '\\"ID\\"' in text:
                text = text.replace('\\"ID\\"', f'\\"{answers[2]["data"]["enrolMember"]["member"]["id"]}\\"')
            tokens = till | staff_and_member(base)
            done = subprocess.run(["bash", "-c", text], env=tokens, capture_output=True, text=True, check=True)
            answers.append(json.loads(done.stdout))
        member = answers[2]["data"]["enrolMember"]["member"]["id"]
        proved, simulated = as_printed(wallet, "audit"), as_printed(wallet, "cascade", ID=member)

    itself, traded, refreshed = granted
    assert (itself["scope"], "refresh_token" in itself) == ("activity:write wallet:read", False)
    assert traded["scope"] == refreshed["scope"] == "wallet:read"
    assert refreshed["refresh_token"] != traded["refresh_token"]
    assert [answer.get("errors") for answer in answers] == [None] * 7
    signed_in, seen, enrolled, recorded, adjusted, moved, reached = (answer["data"] for answer in answers)
    assert signed_in["sandboxSignIn"]["accessToken"]
    assert seen["me"]["wallet"]["points"]["available"] == 100
    assert enrolled["enrolMember"]["isNew"] is True
    assert recorded["recordPurchase"]["entry"] == {"points": 12}
    assert recorded["recordPurchase"]["member"]["wallet"]["points"] == {"available": 112}
    assert adjusted["adjustBalance"]["member"]["wallet"]["points"] == {"available": 162}
    assert moved["advanceClock"]["now"].startswith("2018-06-15T12:00:00")
    assert reached == {"registerDevice": {"__typename": "Device"}, "setConsent": {"__typename": "Consent"}}
    assert (proved.returncode, proved.stdout[:12]) == (0, "All is well:"), proved.stderr
    assert simulated.returncode == 0, simulated.stderr
    assert simulated.stdout.startswith(f"win-back for {member}: version 1, ")
    assert simulated.stdout.endswith("Nothing was sent.\n")


def test_every_command_of_the_readme_exists(wallet: WalletCommand) -> None:
    told = set(re.findall(r"^ {4}wallet (\w+)", README, re.MULTILINE))

    listed = wallet.run("--help").stdout

    assert told == {
        "serve",
        "worker",
        "init",
        "cascade",
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


def as_printed(wallet: WalletCommand, command: str, **instead: str) -> subprocess.CompletedProcess[str]:
    """Runs the one such command that is printed to be pasted, with its settings, and with these words put in."""
    ((settings, line),) = re.findall(
        rf"^ {{4}}((?:WALLET_\w+=\S+ )*)\.venv/bin/wallet ({command} .*)$", README, re.MULTILINE
    )
    variables = dict(each.split("=", 1) for each in settings.split())
    return wallet.run(*(instead.get(word, word) for word in shlex.split(line)), **variables)


def till_token(wallet: WalletCommand, base: str) -> str:
    answer = HTTP.post(f"{base}/oauth/token", data={"grant_type": "client_credentials"}, auth=wallet.till())
    return str(answer.json()["access_token"])


def as_a_partner_would(base: str) -> list[dict[str, Any]]:
    """What the examples of OAuth answer to an app that staff made and a member let in."""

    def ask(query: str, token: str | None = None) -> dict[str, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answered: dict[str, Any] = HTTP.post(f"{base}/graphql", json={"query": query}, headers=headers).json()["data"]
        return answered

    staff = ask('mutation { sandboxStaffToken(scopes: ["staff:partners"]) }')["sandboxStaffToken"]
    made = ask(
        'mutation { createPartner(input: {name: "App", scopes: ["activity:write", "wallet:read"], '
        'redirectUris: ["https://app.example/back"]}) { partner { clientId } clientSecret } }',
        staff,
    )["createPartner"]
    member = ask('mutation { sandboxSignIn(subject: "hedy") { ... on Session { accessToken } } }')["sandboxSignIn"]
    client_id, verifier = made["partner"]["clientId"], "v" * 43
    back = ask(
        f'mutation {{ authorizeApp(input: {{clientId: "{client_id}", redirectUri: "https://app.example/back", '
        f'scopes: ["wallet:read"], codeChallenge: "{challenge(verifier)}"}}) '
        "{ ... on AppAuthorized { redirectTo } } }",
        member["accessToken"],
    )["authorizeApp"]["redirectTo"]
    environment = {
        "CLIENT_ID": client_id,
        "CLIENT_SECRET": made["clientSecret"],
        "CODE": in_address(back)["code"],
        "VERIFIER": verifier,
        "PATH": os.defpath,
    }
    answers: list[dict[str, Any]] = []
    for example in (each for each in EXAMPLES if "/oauth/" in each):
        text = example.replace("http://localhost:8000", base)
        done = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True, check=True)
        answers.append(json.loads(done.stdout))
        environment["REFRESH"] = answers[-1].get("refresh_token", "")
    return answers


def staff_and_member(base: str) -> dict[str, str]:
    query = (
        'mutation { sandboxStaffToken(scopes: ["staff:adjust"]) '
        'sandboxSignIn(subject: "grace") { ... on Session { accessToken } } }'
    )
    data = HTTP.post(f"{base}/graphql", json={"query": query}).json()["data"]
    return {
        "STAFF": data["sandboxStaffToken"],
        "MEMBER": data["sandboxSignIn"]["accessToken"],
        "PATH": os.defpath,
    }
