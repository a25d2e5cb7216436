"""The money: holds and charges against budgets, and the journal in which every finished call is written before it is answered.

`budgets.py` holds and settles, `raises.py` raises limits for a time, `pace.py` counts calls and tokens a minute, `journal.py` is
the file, `record.py` what a line of it says, `ledger.py` puts them together and drains the journal into storage.
"""
