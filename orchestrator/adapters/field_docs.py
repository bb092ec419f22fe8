"""What each field of a model means: the string under it in the source. Read only to write documents and the schema."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache

from orchestrator.domain.network import Model


@lru_cache
def field_docs(model: type[Model]) -> dict[str, str]:
    """Field → its documentation, inherited fields included. A field without any is left out."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Model) and base is not Model:
            found |= _own(base)
    return found


def model_doc(model: type[Model]) -> str:
    """The class's docstring as one line of prose per paragraph."""
    paragraphs = inspect.cleandoc(model.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _own(model: type[Model]) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(before, ast.AnnAssign) or not isinstance(before.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            found[before.target.id] = " ".join(after.value.value.split())
    return found
