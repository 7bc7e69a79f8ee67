"""The limit store of a process on its own."""

from gateway.limits.quota import Slot


class LocalLimitStore:
    """Counts the exchanges of this process alone."""

    is_reached: bool | None = None
    fallbacks: int | None = None

    async def enter(self, slot: Slot) -> None:
        """Let an exchange begin. See `LimitStore`."""
        count(slot)
        slot.quota.throttle(slot.user)

    def leave(self, slot: Slot) -> None:
        """Record that an exchange is over. See `LimitStore`."""
        discount(slot)

    async def close(self) -> None:
        """The store has no connection."""


def count(slot: Slot) -> None:
    """Count a slot in its quota. Raises Rejection TOO_MANY_STREAMS."""
    slot.quota.count(slot.user)
    slot.is_counted = True


def discount(slot: Slot) -> None:
    """Remove a slot from its quota, if it was counted there."""
    if slot.is_counted:
        slot.is_counted = False
        slot.quota.discount(slot.user)
