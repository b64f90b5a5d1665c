"""Notices: what a member is told without a cascade, since it is about his money and no programme may leave it out.

There is one: his automatic top-up is off after three charges failed (SEMANTICS §6.4). It goes to the inbox, in his
language, once for each time; the payer says that it is due until it is there.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from domain.members.member import member_by_id
from domain.payments.payer import payer_from
from domain.programme.programme import Programme
from domain.programme.wording import locales_for
from domain.store.codec import epoch_ms
from domain.store.connection import Store
from notifications.channel import MessageCategory
from notifications.devices import devices_of, locale_among
from notifications.inbox import InboxItem, put

BATCH: Final = 50


class Words(NamedTuple):
    title: str
    body: str


AUTO_TOP_UP_STOPPED: Final[Mapping[str, Words]] = {
    "en": Words(
        "Automatic top-up is off",
        "Your card was declined three times, so we stopped trying. Top up with another card, and turn it on again.",
    ),
    "sl": Words(
        "Samodejno polnjenje je izklopljeno",
        "Vaša kartica je bila trikrat zavrnjena, zato smo nehali poskušati. "
        "Napolnite z drugo kartico in ga znova vklopite.",
    ),
    "ro": Words(
        "Reîncărcarea automată este oprită",
        "Cardul tău a fost refuzat de trei ori, așa că nu mai încercăm. Reîncarcă cu alt card și pornește-o din nou.",
    ),
    "et": Words(
        "Automaatne laadimine on välja lülitatud",
        "Sinu kaart lükati kolm korda tagasi, seega me enam ei proovi. Lae teise kaardiga ja lülita see uuesti sisse.",
    ),
    "ru": Words(
        "Автопополнение выключено",
        "Ваша карта была отклонена три раза, поэтому мы прекратили попытки. "
        "Пополните другой картой, затем снова включите автопополнение.",
    ),
    "kk": Words(
        "Автоматты толтыру өшірілді",
        "Картаңыз үш рет қабылданбады, сондықтан әрекеттерді тоқтаттық. Басқа картамен толтырып, оны қайта қосыңыз.",
    ),
}


async def tell_stopped(store: Store, programme: Programme, slots: Iterable[int], *, now: datetime) -> int:
    """Tell the members of the slots whose automatic top-up stopped; how many were told."""
    untold = {"slot": {"$in": sorted(slots)}, "untold": True}
    found = await store.payers.find(untold).limit(BATCH).to_list()
    for document in found:
        payer = payer_from(document)
        stopped_at = None if payer.auto is None else payer.auto.stopped_at
        if stopped_at is not None:
            await _tell(store, programme, payer.member, stopped_at=stopped_at, now=now)
        await store.payers.update_one({"_id": payer.member, "auto.stopped_at": stopped_at}, {"$unset": {"untold": ""}})
    return len(found)


async def _tell(store: Store, programme: Programme, member: str, *, stopped_at: datetime, now: datetime) -> None:
    known = await member_by_id(store, member)
    if known is None:
        return
    locale = known.profile.locale or locale_among(await devices_of(store, member, now=now))
    locales = locales_for(programme, locale or programme.definition.locales.default)
    words = AUTO_TOP_UP_STOPPED[next((each for each in locales if each in AUTO_TOP_UP_STOPPED), "en")]
    await put(
        store,
        InboxItem(
            id=f"auto-top-up.{member}.{epoch_ms(stopped_at)}",
            member=member,
            title=words.title,
            body=words.body,
            category=MessageCategory.TRANSACTIONAL,
            sent_at=now,
        ),
    )
