"""The conformance kit: what the hub asks of every adapter, ours and yours, run against a real system or an imitation.

`structural` needs no system: the spec, its settings, and what each failure means. `suite` is the whole of it; it stands
on `system` (yours to describe) with a fault `proxy` before it, or on the scriptable `target` where none can be
installed. The pytest plug-in `plugin` tells what was proven. Tests import this; no product does.
"""
