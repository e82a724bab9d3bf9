"""The OpenAPI document: what routes say of themselves, put together for clients.

``operations`` is what a route needs to import; the rest is for ``routes/docs.py``.
"""
