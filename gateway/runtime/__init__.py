"""The process and the processes: wiring, life cycle, reload, drain, supervisor and workers.

Here the rooms below are put together. No decision about a single request belongs here.
"""
