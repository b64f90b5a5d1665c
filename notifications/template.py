"""What a message says to one member: the programme's template, in his language, filled with his values."""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from domain.programme.programme import Programme
from domain.programme.template import MissingVariable, Rendered, render
from domain.programme.variables import Value
from domain.programme.wording import locales_for, localised


def render_template(
    programme: Programme, template: str, *, locale: str, variables: Mapping[str, Value], zone: ZoneInfo
) -> Rendered | MissingVariable:
    """The message of that template for a member with that locale and zone, by the programme's fallback of languages.

    `variables` are those of the event that started the cascade (`domain.programme.variables`); a member who told no
    name is called by the programme's `messaging.nameless`. Pure.
    """
    texts = programme.definition.templates[template]
    chosen = next(name for name in (*locales_for(programme, locale), *texts) if name in texts)
    if not variables.get("name") and (nameless := programme.definition.messaging.nameless):
        variables = {**variables, "name": localised(programme, nameless, chosen)}
    return render(texts[chosen], chosen, variables, zone=zone)
