"""What is answered for something that is gone, whether or not it was ever there."""

import strawberry


@strawberry.type
class Removed:
    id: strawberry.ID
