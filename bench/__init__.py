"""The product beside its floor: the same work by the least code that is as durable, in one run, in turns.

`python -m bench` lists the verbs. What each figure means is in README.md.
"""
