"""Asking a model: scripted answers, a checkpoint in this process, or a server."""
