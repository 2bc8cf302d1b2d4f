"""The controller over HTTP: ``orchestrator.api.app.create_app``. Imports nothing: the framework loads slowly."""
