"""What stands for a person: initials and one of ten colours, both made from the name."""

import re
from zlib import crc32

COLOURS = 10  # chat.css has one .avatar-N for each


def initials(name: str) -> str:
    """Return one or two capital letters: ``ada`` → ``AD``, ``grace.hopper`` → ``GH``."""
    words = re.findall(r"[^\W_]+", name)
    if not words:
        return "?"
    letters = words[0][:2] if len(words) == 1 else words[0][0] + words[-1][0]
    return letters.upper()


def colour(name: str) -> int:
    """Return the number of the name's colour: the same name has the same one everywhere."""
    return crc32(name.encode()) % COLOURS
