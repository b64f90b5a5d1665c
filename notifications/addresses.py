"""The addresses in a member's profile, as endpoints: EMAIL needs an e-mail address, SMS a phone number."""

from domain.members.member import Profile
from notifications.channel import Channel, Endpoint, EndpointKind


def address_of(profile: Profile, channel: Channel) -> Endpoint | None:
    """Where a message on that channel reaches the member; None if he told no such address, and for other channels."""
    if channel is Channel.EMAIL and profile.email is not None:
        return Endpoint(id="email", kind=EndpointKind.EMAIL, value=profile.email)
    if channel is Channel.SMS and profile.phone is not None:
        return Endpoint(id="phone", kind=EndpointKind.PHONE, value=profile.phone)
    return None
