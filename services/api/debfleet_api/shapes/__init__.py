"""The shapes of answers, for the OpenAPI document: one module a family of resources.

Routes render dicts; these say what is in them, and a test holds each answer against its shape.
"""
