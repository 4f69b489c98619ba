"""The engine: cells become stored data by way of every stage, once for each new graph.

Comes in: cells (cell.py). Goes out: settled cells. realize.py conducts; plan.py and compile.py keep
what was made; run.py launches; capture.py replays; tune.py and worker.py search.
"""
