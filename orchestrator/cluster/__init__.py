"""The controller inside a cluster: driven by objects of the API server, in one namespace.

Theory of operation. A StagedRollout is a plan; its run lives in the journal like any other, and the journal alone
decides what happened. Objects are wishes to be read and projections to be written: what is in ``status`` is never read
back as a fact, but for one thing (a run that another store knows is not begun again by this one).

Each object is looked at when it, its run, or time gives a reason to; one at a time for each object. A look compares
object and journal (``reconcile.py``, pure) and makes at most one move: start, stop, roll back, put or take the
finalizer. Then the status is projected (``status.py``), what happened is told as Events (``events.py``), and nothing is
written that stands there already. So a look may be repeated at any time, and a crash between any two lines costs
nothing: the name of a run follows from the object, its generation and the run before, an Event's from the place in the
journal, and a command's uid is its key in the journal.

Whoever may create an object is not thereby allowed what the controller is. What a plan does in the cluster is asked of
RBAC in its creator's name before a run starts (``rights.py``); what lies beyond RBAC, in the controller's own process,
a plan from a cluster may not ask for at all (``limits.py``).
"""
