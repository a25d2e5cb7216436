"""Usage times price is cost, exactly: whole nano-dollars, rounded once.

`price.py` has the nouns, `catalog.py` what each model costs and can do, `cost.py` the sum, `bound.py` the most that a
call not yet made can cost.
"""
