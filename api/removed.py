"""What is answered for something that is not there any more, whether it was there before or not."""

import strawberry


@strawberry.type
class Removed:
    id: strawberry.ID
