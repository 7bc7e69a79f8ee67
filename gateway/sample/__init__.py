"""A service that streams progress, and a page that shows it: a model to copy and a demo to watch.

It uses nothing else of this package, so that it can be copied as it is.
"""
