"""The engine: cells become stored data by way of every stage, once for each new graph.

In: cells (cell.py). Out: settled cells. Next files: realize.py conducts, plan.py and compile.py
cache, run.py launches, capture.py replays, tune.py searches.
"""
