"""What operations and observations are in the journal: data that says by a tag what it is."""

from pydantic import SerializerFunctionWrapHandler, model_serializer

from stages.values import Json, Part


class Tagged(Part):
    """Always written with its tag, also where defaults are left out."""

    @model_serializer(mode="wrap")
    def _with_tag(self, write: SerializerFunctionWrapHandler) -> dict[str, Json]:
        return {"op": getattr(self, "op", None), **write(self)}
