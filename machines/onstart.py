"""The customer's onstart script waits, on whatever we rent, until that instance becomes its machine.

A provider runs it at every boot. On a candidate of a race it would run several times at once, and on a standby that is
armed it would write the volume that the living primary writes. So what we rent holds it back until the instance was
verified and its agent is started; from then on every boot runs it, as on any instance of the customer's.
"""

from __future__ import annotations

import shlex

_PLACE = '"$HOME/.failoverd"'
_SERVE = '"$HOME/.failoverd/serve"'
_HELD = '"$HOME/.failoverd/held"'
_HEAD = "# failoverd: this waits until the instance is its machine"
_BEGIN = f"{_HEAD}\nif [ -e {_SERVE} ]; then\n"
_END = f"\nelse\nmkdir -p {_PLACE} && touch {_HELD}\nfi\n"


def held_back(onstart: str | None) -> str | None:
    """The script to rent with. What is held back already stays as it is: a machine may be read back from the provider."""
    if onstart is None or not onstart.strip() or onstart.startswith(_HEAD):
        return onstart
    script = onstart.rstrip("\n")
    return f"{_BEGIN}{script}{_END}"


def held_script(text: str) -> str | None:
    """The inverse: what this script holds back, and None where it holds nothing back."""
    text = text.rstrip("\n") + "\n"
    is_held = text.startswith(_BEGIN) and text.endswith(_END)
    return text.removeprefix(_BEGIN).removesuffix(_END) if is_held else None


def let_go(onstart: str | None) -> str:
    """A shell command that ends the waiting on the instance where it runs, and runs the script where a boot held it
    back: in the background, watched for a second, so that what it starts at once stands before what follows."""
    serve = f"mkdir -p {_PLACE} && touch {_SERVE}"
    if onstart is None or not onstart.strip():
        return serve
    run = f'setsid "$(command -v bash || echo sh)" -c {shlex.quote(onstart)} >> "$HOME/.failoverd/onstart.log" 2>&1 < /dev/null &'
    watch = 'started=$!; looks=0; while kill -0 "$started" 2>/dev/null && [ "$looks" -lt 10 ]; do sleep 0.1; looks=$((looks+1)); done'
    return f"{serve}; if [ -e {_HELD} ]; then rm -f {_HELD}; {run} {watch}; fi"
