"""`python -m bridge_core.config example | reference`: print what is generated from the models."""

import sys

from bridge_core.config.adapters import shipped_models
from bridge_core.config.example import render_config
from bridge_core.config.reference import render_reference


def main(argv: list[str]) -> int:
    """Print one of the two generated files."""
    makers = {"example": render_config, "reference": lambda: render_reference(shipped_models())}
    if len(argv) != 1 or argv[0] not in makers:
        sys.stderr.write("usage: python -m bridge_core.config example | reference\n")
        return 2
    sys.stdout.write(makers[argv[0]]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
