"""What is wrong with the variables of a request: which one, where in it, and what to send instead.

graphql-core tells it in its own words, with the whole value that was found, which may hold personal data; the place of
a field that is missing, or should not be there, is in the words alone.
"""

import re
from typing import Final

from api.edge.errors import BAD_USER_INPUT, ExposedError

LONGEST_NAME: Final = 60
_MISSING: Final = re.compile(r"Expected value of type '(?P<kind>.+?)' to include required field '(?P<field>\w+)'")
_UNKNOWN: Final = re.compile(
    r"Expected value of type '(?P<kind>.+?)' not to include unknown field '(?P<field>.*?)'"
    r"(?:\.(?P<instead> Did you mean .*?\?) Found|, found): ",
    re.DOTALL,
)
_NULL: Final = re.compile(r"Expected (?:a )?value of non-null type '(?P<kind>.+?)!'")
_ONE_OF: Final = re.compile(r"Within OneOf Input Object type '(?P<kind>\w+)'")
_NO_OBJECT: Final = re.compile(r"Expected value of type '(?P<kind>.+?)' to be an object")


def variable_error(name: str, path: list[str | int], message: str) -> ExposedError:
    """The error of the variable `name`, found at `path` in its value, whose words are graphql-core's."""
    place = [name, *(str(step) for step in path)]
    told = message
    if found := _MISSING.match(message):
        place.append(found["field"])
        told = f"It is missing; a {found['kind']} needs it."
    elif found := _UNKNOWN.match(message):
        place.append(found["field"][:LONGEST_NAME])
        told = f"A {found['kind']} has no such field.{found['instead'] or ''}"
    elif found := _NULL.match(message):
        told = f"It is missing or null; a {found['kind']} is needed."
    elif found := _ONE_OF.match(message):
        told = f"Give exactly one field of a {found['kind']}, and no null."
    elif found := _NO_OBJECT.match(message):
        told = f"It must be an object, a {found['kind']}."
    dotted = ".".join(place)
    return ExposedError(f"{dotted}: {told}", code=BAD_USER_INPUT, details={"path": dotted})
