"""What the bots are good for: they throw dice."""

import re
import secrets

MOST_DICE, MOST_SIDES = 100, 1000
HELP = "Write for example d20, 2d6 or 3d8+2."


def reply(text):
    """The answer to `2d6+1`."""
    match = re.fullmatch(r"(\d{0,3})d(\d{1,4})([+-]\d{1,4})?", text.strip().lower().replace(" ", ""), re.ASCII)
    if not match:
        return HELP
    count, sides, bonus = int(match[1] or 1), int(match[2]), int(match[3] or 0)
    if not (1 <= count <= MOST_DICE and 2 <= sides <= MOST_SIDES):
        return f"I have {MOST_DICE} dice of up to {MOST_SIDES} sides. {HELP}"
    throws = [1 + secrets.randbelow(sides) for _ in range(count)]
    shown = " + ".join(map(str, throws)) + (f" {match[3][0]} {match[3][1:]}" if match[3] else "")
    return f"{shown} = {sum(throws) + bonus}"
