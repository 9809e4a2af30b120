"""Which image each operator has in EARG's config, and which Python class an image stands for.

An operator that gives an entrypoint and no image has the entrypoint for its image: it names what
runs as well as any reference does. An image that would stand for two classes, or for one where
another operator leaves the class to whoever deploys it, stands for the first one's alone; the
others have their entrypoint for an image.
"""

from __future__ import annotations

from collections.abc import Mapping

from udgl.diagnostics import Diagnostic, Severity, quote
from udgl.graph import Operator, ServingGraph
from udgl.targets._yaml_text import text

Images = dict[str, tuple[str, Operator]]
"""Image to the entrypoint that it stands for, and the operator that says so first."""


def assign_images(
    graph: ServingGraph,
) -> tuple[dict[str, str], Images, list[Diagnostic]]:
    """The image of each operator by its name, the images that stand for a class, and what is to be
    told of it."""
    found: list[Diagnostic] = []
    left_open = {o.image: o for o in graph.operators if o.image and not o.entrypoint}
    image_of: dict[str, str] = {}
    classes: Images = {}
    for operator in graph.operators:
        entrypoint = operator.entrypoint
        if not entrypoint:
            image_of[operator.name] = operator.image
            continue
        image = operator.image or entrypoint
        known = classes.get(image)
        other = known[1] if known and known[0] != entrypoint else left_open.get(image)
        if other is not None:
            found.append(_clash(operator, image, other))
            image = entrypoint
            if image in left_open or classes.get(image, (entrypoint,))[0] != entrypoint:
                continue
        image_of[operator.name] = image
        classes.setdefault(image, (entrypoint, operator))
    return image_of, classes, found


def _clash(operator: Operator, image: str, other: Operator) -> Diagnostic:
    own = operator.entrypoint or ""
    stands = f"for {other.entrypoint}" if other.entrypoint else "for no class that the graph names"
    message = f"image {quote(image)} stands {stands} at {quote(other.name)} already"
    if image == own:
        hint = f"give {operator.name} an image of its own"
        return Diagnostic("EARG108", message, operator.span_of("entrypoint"), hint)
    message += f", so EARG knows that of {quote(operator.name)} as {quote(own)}"
    hint = "to keep it, give the two operators images of their own"
    span = operator.span_of("image")
    return Diagnostic("EARG108", message, span, hint, Severity.WARNING)


def images_text(graph: ServingGraph, classes: Mapping[str, tuple[str, Operator]], head: str) -> str:
    """The images file, as :mod:`earg.images` reads it, after the comment ``head``."""
    lines = [head]
    for image, (entrypoint, operator) in classes.items():
        span = dict(operator.spans).get("entrypoint")
        lines.append(f"{text(image)}:" + (f"  # line {span.line}" if span else ""))
        lines.append(f"  entrypoint: {text(entrypoint)}")
    return "\n".join(lines) + "\n"
