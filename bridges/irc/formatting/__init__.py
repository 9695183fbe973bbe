"""mIRC control codes to the neutral text and back (modern.ircdocs.horse/formatting)."""

from bridges.irc.formatting.parsing import strip_codes, to_tree
from bridges.irc.formatting.rendering import Rendering, to_lines

__all__ = ["Rendering", "strip_codes", "to_lines", "to_tree"]
