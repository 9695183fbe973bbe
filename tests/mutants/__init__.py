"""The mutants: `python -m tests.mutants` shows that each invariant's test fails when the invariant is broken."""
