"""Proofs by force: the orchestrator is killed at every point where it writes to the log or talks to a device.

`approved.py` folds from the log, by code of its own, what may be open; `monitor.py` holds every change of a simulated device
against it; `world.py` is the hospital that outlives the killed process; `operations.py` lists what is killed;
`one_death.py` kills, recovers, restarts and judges.
"""
