"""What can go wrong for a reason the user can act on."""

from __future__ import annotations


class EditError(ValueError):
    """The request cannot be carried out as given; the message says what to change."""


class Interrupted(BaseException):
    """The user asked to stop; the message says in which way: skipped, or stopped.

    A `BaseException`, like `KeyboardInterrupt`, so that no `except Exception` on the way
    swallows it. `pipeline.edit` turns it into the best result reached so far.
    """


class Paused(Exception):
    """The candidates of a part of the mask are there, and the user is to choose among them."""
