"""``python -m benchmarks``: see ``runner``."""

from benchmarks.runner import main

raise SystemExit(main())
