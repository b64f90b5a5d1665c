"""A version that is published in one process rules in another one, and what was earned before stays as it was."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wallet_command import HTTP, PROGRAMME, WalletCommand, free_port, wallet_command

SOURCE = PROGRAMME.read_text(encoding="utf-8")
DOUBLE = SOURCE.replace('points: {per: "1.00", give: 1}}, text', 'points: {per: "1.00", give: 2}}, text')
PUBLISH = """
mutation($source: String!) { publishProgramme(source: $source, expectedVersion: 1) {
  __typename ... on ProgrammePublished { programme { version } }
} }
"""
RECORD = """
mutation($input: PurchaseInput!) { recordPurchase(input: $input) {
  __typename ... on PurchaseRecorded { replayed entry { points } } ... on Problem { message }
} }
"""
ENROL = 'mutation { enrolMember(input: {reference: "card-1", idempotencyKey: "enrol-card-1"}) { __typename } }'


@pytest.fixture
def wallet(server_url: str, worker_id: str) -> Iterator[WalletCommand]:
    with wallet_command(server_url, f"publishing_{worker_id}") as command:
        yield command


def ask(port: int, query: str, token: str | None = None, **variables: Any) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = {"query": query, "variables": variables}
    answered = HTTP.post(f"http://127.0.0.1:{port}/graphql", json=body, headers=headers).json()
    assert "errors" not in answered, answered
    data: dict[str, Any] = answered["data"]
    return data


def test_what_one_process_publishes_rules_in_another(wallet: WalletCommand) -> None:
    one, other = free_port(), free_port()
    public = {"WALLET_PUBLIC_URL": "http://localhost:8000"}
    assert wallet.run("init", "--programme", str(PROGRAMME)).returncode == 0
    client_id, secret = wallet.till()
    with (
        wallet.serving("--no-worker", port=one, **public),
        wallet.serving("--no-worker", port=other, **public),
    ):
        granted = HTTP.post(
            f"http://127.0.0.1:{other}/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(client_id, secret),
        )
        till = granted.json()["access_token"]
        staff = ask(one, 'mutation { sandboxStaffToken(scopes: ["staff:programme"]) }')["sandboxStaffToken"]
        ask(other, ENROL, till)
        before = ask(other, RECORD, till, input=purchase("R-1"))

        published = ask(one, PUBLISH, staff, source=DOUBLE)
        at, deadline = 1, time.monotonic() + 60
        while at == 1 and time.monotonic() < deadline:
            at = ask(other, "{ programme { version } }")["programme"]["version"]
        after = ask(other, RECORD, till, input=purchase("R-2"))
        again = ask(other, RECORD, till, input=purchase("R-1"))

    assert published["publishProgramme"]["programme"] == {"version": 2}
    assert at == 2
    assert before["recordPurchase"]["entry"] == {"points": 10}
    assert after["recordPurchase"]["entry"] == {"points": 20}
    assert again["recordPurchase"] == {**before["recordPurchase"], "replayed": True}


def purchase(receipt: str) -> dict[str, Any]:
    return {
        "member": {"reference": "card-1"},
        "receipt": receipt,
        "total": {"amount": "10.00", "currency": "USD"},
        "idempotencyKey": f"purchase-{receipt}",
    }
