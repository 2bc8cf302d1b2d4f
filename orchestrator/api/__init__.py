"""The controller over HTTP: ``orchestrator.api.app.create_app``. Nothing is imported here: the framework loads slowly."""
