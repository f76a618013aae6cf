"""Adapters: one folder per external system. Write one in an hour.

The honest paragraph: an hour suffices for a system with a documented HTTP API, a key that finds our record again (or an
idempotency key), and a test account. `hub adapter new NAME` makes the folder, docs/guides/write-an-adapter.md fills one
in from the first line to the first record. Each has `settings.py` (what a connection needs, as JSON Schema and as a
dataclass), `mapping.py` (pure functions between our canonical record and theirs), `adapter.py` (calls, in the order
that survives a lost answer: look first, then do only what is missing). Raise the exceptions of `hub_adapter.failure`;
never sleep, retry, start threads or touch a database. Add the name to `registry.py`, or ship it from outside under the
entry-point group "crm_hub.adapters". What takes longer than the hour is learning where the other system lies: a 200
that did nothing, an empty look-up that proves nothing. Write each of those down beside the line that deals with it.
"""
