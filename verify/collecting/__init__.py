"""Asking a suspect behind an OpenAI-compatible endpoint; needs the extra `collect`.

`answers` reads what an endpoint sends, `endpoint` sends one request, `journal` keeps the answers on disk, and
`collector` decides what is asked, how often and until when.
"""
