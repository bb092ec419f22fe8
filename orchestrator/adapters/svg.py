"""What our pictures have in common: colours of the stages, and SVG that stands by itself.

An SVG of ours is one valid XML document with a title that screen readers find, without any reference to something
outside of it: it can be mailed, printed and kept with the evidence.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

SVG = "http://www.w3.org/2000/svg"
FONT = "Helvetica, Arial, sans-serif"
# Light enough for black text (contrast above 10 to 1), and told apart in print by the stage's name beside them.
_COLOURS = ("#f6c6c6", "#fbdcb6", "#f8efb0", "#d8efb4", "#b9e7c9", "#b5e3e8", "#bcd4f5", "#d3c6f3", "#efc4e4", "#dddddd")
NO_STAGE = "#ffffff"
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def colour_of(stage: int | None) -> str:
    """The colour of the stage of this number; they repeat after the tenth."""
    return NO_STAGE if stage is None else _COLOURS[stage % len(_COLOURS)]


def clean(text: str) -> str:
    """The text on one line, with a mark for every character that XML cannot hold."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split("\n")))


def as_document(root: ElementTree.Element, title: str) -> str:
    """The element as a whole document with its title, named so that a screen reader says it."""
    root.set("role", "img")
    root.set("aria-labelledby", "title")
    named = ElementTree.Element(f"{{{SVG}}}title", {"id": "title"})
    named.text = clean(title)
    root.insert(0, named)
    ElementTree.register_namespace("", SVG)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text.rstrip()}\n'
