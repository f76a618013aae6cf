"""All that the author of an adapter needs: what the hub asks of one, and the HTTP session it is handed.

An adapter joins one external system to the hub. Read `hub_adapter.port` first: it is the whole contract. Then write a
class with a `spec` and the methods that its entities need; raise the exceptions of `port` and return its records. The
engine calls it, retries, keeps order, and remembers; the adapter never sleeps, retries, starts threads or touches a
database. Nothing here imports anything of the hub's own, so an adapter can live and be tested in a repository of yours.
"""
