"""Whether mail may come in, and who wrote it.

names.py        DNS, bounded
spf.py, dkim.py, dmarc.py, arc.py, results.py   the checks, each by itself
decision.py     what follows from them
lists.py, rates.py, greylist.py, dnsbl.py, filter.py   what may refuse before or beside them
inspector.py    all of it, as the doors ask
"""
