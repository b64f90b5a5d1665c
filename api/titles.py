"""What entries say to the member who reads them: a title, and why each rule gave what it gave.

The texts of an earning rule are the programme's (domain.programme.wording); what no rule gave has its words
here, in the languages that the wallet speaks.
"""

from collections import OrderedDict
from typing import Final

from domain.ledger.entry import Entry
from domain.programme.earning import ExplanationRow
from domain.programme.programme import Programme
from domain.programme.wording import explain, locales_for

KEPT: Final = 256


class EntryTexts:
    """The texts of one version of the programme in one language. Get one by :func:`entry_texts`."""

    def __init__(self, programme: Programme, locale: str) -> None:
        self._programme = programme
        self._locale = locale
        language = next((name for name in locales_for(programme, locale) if name in TITLES), "en")
        self._titles = TITLES[language]
        self._reasons: dict[tuple[str, str, bool], str] = {}

    def title(self, entry: Entry) -> str:
        """One line, such as ``Purchase at Corner Main Street``."""
        place = None if entry.place is None else self._programme.places.get(entry.place)
        if place is not None and (phrase := self._titles.get(f"{entry.kind.value} {{place}}")):
            return phrase.format(place=place.name)
        return self._titles[entry.kind.value]

    def reason(self, entry: Entry, row: ExplanationRow) -> str:
        """The row's text; that of an adjustment is what staff wrote, while it still stands."""
        if row.step == "adjustment" and entry.note is not None:
            return entry.note.text
        if row.step == "referral":
            return self._titles[entry.kind.value]
        if row.step in self._titles:
            return self._titles[row.step]
        key = (row.rule, row.step, bool(row.points))
        if key not in self._reasons:
            self._reasons[key] = explain(self._programme, row, self._locale)
        return self._reasons[key]


def entry_texts(programme: Programme, locale: str) -> EntryTexts:
    """The texts of that version in that language; made once, since finding the words costs more than the entry."""
    key = (programme.version, programme.digest, locale)
    texts = _kept.get(key)
    if texts is None:
        texts = _kept[key] = EntryTexts(programme, locale)
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    else:
        _kept.move_to_end(key)
    return texts


_kept: OrderedDict[tuple[int, str, str], EntryTexts] = OrderedDict()

TITLES: Final[dict[str, dict[str, str]]] = {
    "en": {
        "PURCHASE": "Purchase",
        "PURCHASE {place}": "Purchase at {place}",
        "RETURN": "Return",
        "RETURN {place}": "Return at {place}",
        "ACTIVITY": "Activity",
        "JOIN": "Welcome",
        "REDEEM": "Reward redeemed",
        "VOUCHER_USED": "Voucher used",
        "VOUCHER_CANCELLED": "Voucher given back",
        "CONVERT": "Points converted",
        "DONATE": "Donation",
        "GIFT_SENT": "Gift sent",
        "GIFT_RECEIVED": "Gift received",
        "TOP_UP": "Top-up",
        "TOP_UP_REFUND": "Top-up refunded",
        "HOLD": "Payment reserved",
        "CAPTURE": "Payment",
        "VOID": "Payment cancelled",
        "CHARGE": "Payment",
        "CHARGE_REFUND": "Payment refunded",
        "BONUS_CLAIM": "Bonus claimed",
        "EXPIRE": "Expired",
        "MATURE": "Now available",
        "REVIEW": "Tier review",
        "PLAN": "Plan",
        "ADJUST": "Correction",
        "REFERRAL": "Referral",
        "return": "Taken back with the return",
        "adjustment": "Correction",
    },
    "sl": {
        "PURCHASE": "Nakup",
        "PURCHASE {place}": "Nakup: {place}",
        "RETURN": "Vračilo nakupa",
        "RETURN {place}": "Vračilo nakupa: {place}",
        "ACTIVITY": "Dejavnost",
        "JOIN": "Dobrodošli",
        "REDEEM": "Unovčena nagrada",
        "VOUCHER_USED": "Uporabljen kupon",
        "VOUCHER_CANCELLED": "Vrnjen kupon",
        "CONVERT": "Zamenjava točk",
        "DONATE": "Donacija",
        "GIFT_SENT": "Poslano darilo",
        "GIFT_RECEIVED": "Prejeto darilo",
        "TOP_UP": "Polnitev",
        "TOP_UP_REFUND": "Vračilo polnitve",
        "HOLD": "Rezervacija plačila",
        "CAPTURE": "Plačilo",
        "VOID": "Preklicano plačilo",
        "CHARGE": "Plačilo",
        "CHARGE_REFUND": "Vračilo plačila",
        "BONUS_CLAIM": "Prevzet bonus",
        "EXPIRE": "Poteklo",
        "MATURE": "Zdaj na voljo",
        "REVIEW": "Pregled stopnje",
        "PLAN": "Paket",
        "ADJUST": "Popravek",
        "REFERRAL": "Priporočilo",
        "return": "Odvzeto z vračilom nakupa",
        "adjustment": "Popravek",
    },
    "ro": {
        "PURCHASE": "Cumpărătură",
        "PURCHASE {place}": "Cumpărătură: {place}",
        "RETURN": "Retur",
        "RETURN {place}": "Retur: {place}",
        "ACTIVITY": "Activitate",
        "JOIN": "Bine ai venit",
        "REDEEM": "Recompensă revendicată",
        "VOUCHER_USED": "Voucher folosit",
        "VOUCHER_CANCELLED": "Voucher returnat",
        "CONVERT": "Puncte convertite",
        "DONATE": "Donație",
        "GIFT_SENT": "Cadou trimis",
        "GIFT_RECEIVED": "Cadou primit",
        "TOP_UP": "Încărcare",
        "TOP_UP_REFUND": "Încărcare rambursată",
        "HOLD": "Plată rezervată",
        "CAPTURE": "Plată",
        "VOID": "Plată anulată",
        "CHARGE": "Plată",
        "CHARGE_REFUND": "Plată rambursată",
        "BONUS_CLAIM": "Bonus revendicat",
        "EXPIRE": "Expirat",
        "MATURE": "Disponibil acum",
        "REVIEW": "Reevaluarea nivelului",
        "PLAN": "Abonament",
        "ADJUST": "Corecție",
        "REFERRAL": "Recomandare",
        "return": "Retras odată cu returul",
        "adjustment": "Corecție",
    },
    "et": {
        "PURCHASE": "Ost",
        "PURCHASE {place}": "Ost: {place}",
        "RETURN": "Tagastus",
        "RETURN {place}": "Tagastus: {place}",
        "ACTIVITY": "Tegevus",
        "JOIN": "Tere tulemast",
        "REDEEM": "Preemia välja võetud",
        "VOUCHER_USED": "Kupong kasutatud",
        "VOUCHER_CANCELLED": "Kupong tagastatud",
        "CONVERT": "Punktid vahetatud",
        "DONATE": "Annetus",
        "GIFT_SENT": "Kingitus saadetud",
        "GIFT_RECEIVED": "Kingitus saadud",
        "TOP_UP": "Laadimine",
        "TOP_UP_REFUND": "Laadimine tagasi makstud",
        "HOLD": "Makse broneeritud",
        "CAPTURE": "Makse",
        "VOID": "Makse tühistatud",
        "CHARGE": "Makse",
        "CHARGE_REFUND": "Makse tagastatud",
        "BONUS_CLAIM": "Boonus kätte saadud",
        "EXPIRE": "Aegunud",
        "MATURE": "Nüüd kasutatav",
        "REVIEW": "Taseme ülevaatus",
        "PLAN": "Pakett",
        "ADJUST": "Parandus",
        "REFERRAL": "Soovitus",
        "return": "Tagastusega maha arvatud",
        "adjustment": "Parandus",
    },
    "ru": {
        "PURCHASE": "Покупка",
        "PURCHASE {place}": "Покупка: {place}",
        "RETURN": "Возврат",
        "RETURN {place}": "Возврат: {place}",
        "ACTIVITY": "Активность",
        "JOIN": "Добро пожаловать",
        "REDEEM": "Награда получена",
        "VOUCHER_USED": "Купон использован",
        "VOUCHER_CANCELLED": "Купон возвращён",
        "CONVERT": "Обмен баллов",
        "DONATE": "Пожертвование",
        "GIFT_SENT": "Подарок отправлен",
        "GIFT_RECEIVED": "Подарок получен",
        "TOP_UP": "Пополнение",
        "TOP_UP_REFUND": "Возврат пополнения",
        "HOLD": "Резерв оплаты",
        "CAPTURE": "Оплата",
        "VOID": "Оплата отменена",
        "CHARGE": "Оплата",
        "CHARGE_REFUND": "Возврат оплаты",
        "BONUS_CLAIM": "Бонус получен",
        "EXPIRE": "Срок истёк",
        "MATURE": "Теперь доступно",
        "REVIEW": "Пересмотр уровня",
        "PLAN": "Подписка",
        "ADJUST": "Исправление",
        "REFERRAL": "Рекомендация",
        "return": "Списано при возврате",
        "adjustment": "Исправление",
    },
    "kk": {
        "PURCHASE": "Сатып алу",
        "PURCHASE {place}": "Сатып алу: {place}",
        "RETURN": "Қайтару",
        "RETURN {place}": "Қайтару: {place}",
        "ACTIVITY": "Белсенділік",
        "JOIN": "Қош келдіңіз",
        "REDEEM": "Сыйақы алынды",
        "VOUCHER_USED": "Купон пайдаланылды",
        "VOUCHER_CANCELLED": "Купон қайтарылды",
        "CONVERT": "Ұпай айырбасталды",
        "DONATE": "Қайырымдылық",
        "GIFT_SENT": "Сыйлық жіберілді",
        "GIFT_RECEIVED": "Сыйлық алынды",
        "TOP_UP": "Толықтыру",
        "TOP_UP_REFUND": "Толықтыру қайтарылды",
        "HOLD": "Төлем резервтелді",
        "CAPTURE": "Төлем",
        "VOID": "Төлем болдырылмады",
        "CHARGE": "Төлем",
        "CHARGE_REFUND": "Төлем қайтарылды",
        "BONUS_CLAIM": "Бонус алынды",
        "EXPIRE": "Мерзімі өтті",
        "MATURE": "Енді қолжетімді",
        "REVIEW": "Деңгейді қайта қарау",
        "PLAN": "Жазылым",
        "ADJUST": "Түзету",
        "REFERRAL": "Ұсыныс",
        "return": "Қайтарумен бірге шегерілді",  # noqa: RUF001 -- Kazakh
        "adjustment": "Түзету",
    },
}
"""Language → kind of entry (with ``{place}`` where the shop is known), or step of a row, → its words."""
