"""XML that somebody else has written, and XML for them. Only what a shape names goes from one side to the other."""

import xml.etree.ElementTree as ET
from xml.parsers import expat

DEEPEST = 16


class Unreadable(Exception):
    """This is not XML that we take."""


def parse(text):
    """A document as elements. Refuses DTDs, and so entities that grow or read files, and whatever is nested deeply."""
    builder, depth = ET.TreeBuilder(), 0
    # Names come as `namespace}name`; ElementTree wants a brace in front.
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True

    def name(tag):
        return "{" + tag if "}" in tag else tag

    def start(tag, attributes):
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise Unreadable(f"nested more than {DEEPEST} deep")
        builder.start(name(tag), {name(key): value for key, value in attributes.items()})

    def end(tag):
        nonlocal depth
        depth -= 1
        builder.end(name(tag))

    def refuse(*_):
        raise Unreadable("it has a DTD")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    try:
        parser.Parse(text, True)
        return builder.close()
    except (expat.ExpatError, LookupError, ValueError) as error:
        # The latter for letters that Python does not know, or knows and expat cannot read.
        raise Unreadable(str(error)) from None


def read(element, shape, space):
    """An element as JSON, by a shape: {"sku": ("Sku", str), "bins": ("Bin", [{…}])}."""
    content = {}
    for member, (tag, kind) in shape.items():
        if isinstance(kind, list):
            content[member] = [read(child, kind[0], space) for child in element.findall(f"{{{space}}}{tag}")]
            continue
        text = element.findtext(f"{{{space}}}{tag}")
        if text is None:
            raise Unreadable(f"{tag} is missing")
        try:
            content[member] = kind(text)
        except ValueError:
            raise Unreadable(f"{tag} is {text!r}") from None
    return content


def write(tag, content, shape, space):
    """JSON as an element, by the same kind of shape."""
    element = ET.Element(f"{{{space}}}{tag}")
    for member, (child, _) in shape.items():
        ET.SubElement(element, f"{{{space}}}{child}").text = str(content[member])
    return element
