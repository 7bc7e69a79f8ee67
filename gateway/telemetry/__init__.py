"""What an operator sees: the log, the counters, the status report and the spans.

Here belongs how an exchange is recorded and how records are written. No decision about a request
is made here.
"""
