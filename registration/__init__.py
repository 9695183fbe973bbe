"""The appservice registration file: model, generator, namespaces and checks.

A leaf package: it imports nothing else of this project, and works without a bridge
(`python -m registration generate | check | show`).
"""

from registration.document import Document, DocumentError, read_document
from registration.generate import Wanted, generate, render, write_private
from registration.model import Namespace, Namespaces, Registration, RegistrationError, load
from registration.namespaces import Template, TemplateError, decode_id, encode_id
from registration.review import Finding, Level, compare, review

__all__ = [
    "Document",
    "DocumentError",
    "Finding",
    "Level",
    "Namespace",
    "Namespaces",
    "Registration",
    "RegistrationError",
    "Template",
    "TemplateError",
    "Wanted",
    "compare",
    "decode_id",
    "encode_id",
    "generate",
    "load",
    "read_document",
    "render",
    "review",
    "write_private",
]
