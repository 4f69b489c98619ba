"""The engine: cells become stored data by way of every stage, once for each new graph.

In: cells (cell.py). Out: settled cells. Next files: realize.py conducts, plan.py caches, run.py
launches and replays, tune.py searches.
"""
