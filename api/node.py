"""The interface of everything that has an id.

Ids are plain and are what arguments take back: a member's is 16 random characters, an entry's is its member's
with a dot and the sequence, a partner's is its client id, a place's is the programme's. `node(id:)` tells them
apart by their form.
"""

import strawberry


@strawberry.interface
class Node:
    id: strawberry.ID
