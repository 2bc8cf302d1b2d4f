"""What the Kubernetes API knows of the orchestrator: its custom resource definitions, made from the models.

``python -m orchestrator.crd FOLDER`` writes them (``make manifests``). Nothing here speaks to a cluster.
"""

from orchestrator.crd.definitions import definitions
from orchestrator.crd.objects import COMMANDS, GROUP, ROLLOUTS, VERSION

__all__ = ["COMMANDS", "GROUP", "ROLLOUTS", "VERSION", "definitions"]
