"""What is told of an error that ends a command, or one row of many."""

from __future__ import annotations

import sys


def in_a_line(error: Exception) -> str | None:
    """What a user can do about an error; None for a fault of the program."""
    if is_out_of_memory(error):
        return "not enough memory: close other programs, or edit a part cut out of the picture"
    if isinstance(error, ImportError):
        return f"{error}: get what the command line needs with pip install 'msbd[standalone]'"
    return str(error) if isinstance(error, OSError) else None


def is_out_of_memory(error: Exception) -> bool:
    """`memory.is_out_of_memory`, where it is there already: to import it, and PyTorch with it,
    takes memory. Until then libraries are loaded and files read."""
    memory = sys.modules.get("msbd.memory")
    if memory is not None:
        return bool(memory.is_out_of_memory(error))
    no_room = "failed to map segment", "error return without exception set"
    return isinstance(error, MemoryError) or any(text in str(error) for text in no_room)
