"""A service that streams progress, and a page that shows it: a model to copy and a demo to watch.

It uses nothing else of this package, so it can be lifted out as it is.
"""
