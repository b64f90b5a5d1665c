"""`node(id:)` for vouchers, messages and runs: each kind of caller sees what it may see by any other way."""

from domain.partners.scopes import PARTNER_SCOPES, STAFF_SCOPES
from tests.api.post import runs, with_phone
from tests.api.shop import Shop, data, new_key
from tests.api.spending import do


async def test_a_voucher_a_message_and_a_run_are_seen_by_who_may_see_them_by_any_other_way(post: Shop) -> None:
    member, other = await post.enrol(displayName="Ana", timeZone="Europe/Ljubljana"), await post.enrol()
    await with_phone(post, member)
    await post.adjust({"member": member, "points": 400, "reason": "Test", "idempotencyKey": new_key()})
    voucher = (await do(post, member, "redeemReward", reward="coffee"))["voucher"]["id"]
    await post.advance("2026-07-06T08:31:00Z")
    (run,) = await runs(post, member, "welcome")
    (message,) = (await post.phone(member, "{ me { inbox { nodes { id } } } }"))["me"]["inbox"]["nodes"]
    now = post.clock.now()
    issue = post.services.tokens.issue_partner_token
    tokens = {
        "nobody": None,
        "member": await post.member_token(member),
        "other member": await post.member_token(other),
        "partner not linked": await post.till_token(*sorted(PARTNER_SCOPES), client_id=post.other_till_id),
        "delegate of another": (await issue(post.till_id, PARTNER_SCOPES, now, member_id=other)).text,
        "staff with nothing": await post.staff_token(),
    }
    tokens |= {f"partner {scope}": await post.till_token(scope) for scope in sorted(PARTNER_SCOPES)}
    tokens |= {
        f"delegate {scope}": (await issue(post.till_id, [scope], now, member_id=member)).text
        for scope in sorted(PARTNER_SCOPES)
    }
    tokens |= {scope: await post.staff_token(scope) for scope in sorted(STAFF_SCOPES)}
    asked = f"""{{
      voucher: node(id: "{voucher}") {{ __typename id }}
      message: node(id: "{message["id"]}") {{ __typename id }}
      run: node(id: "{run["id"]}") {{ __typename id }}
    }}"""

    seen: dict[str, set[str]] = {}
    for who, token in tokens.items():
        answered = await post.ask(asked, token=token)
        if who == "nobody":
            assert answered["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
            continue
        for kind, node in data(answered).items():
            if node is not None:
                assert (
                    node
                    == {
                        "voucher": {"__typename": "Voucher", "id": voucher},
                        "message": {"__typename": "InboxItem", "id": message["id"]},
                        "run": {"__typename": "CascadeRun", "id": run["id"]},
                    }[kind]
                )
                seen.setdefault(who, set()).add(kind)

    assert seen == {
        "member": {"voucher", "message"},
        "partner vouchers:use": {"voucher"},
        "partner wallet:read": {"voucher"},
        "delegate vouchers:use": {"voucher"},
        "delegate wallet:read": {"voucher"},
        "staff:members": {"voucher", "run"},
    }
