"""What the server's own page says of the instruction editor's addresses."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from heedlm.serve import playground_shapes as shapes

# address below /ui/api/ -> method, body, answer
ADDRESSES: dict[str, tuple[str, type[BaseModel] | None, type[BaseModel]]] = {
    "instructions": ("get", None, shapes.FilesShape),
    "instructions/look": ("post", shapes.LookBody, shapes.LookShape),
    "instructions/speak": ("post", shapes.SpeakBody, shapes.SpeakShape),
    "instructions/open": ("post", shapes.OpenBody, shapes.SourceShape),
    "instructions/save": ("post", shapes.SaveBody, shapes.SavedShape),
    "matrix/plan": ("post", shapes.MatrixBody, shapes.PlanShape),
    "matrix/score": ("post", shapes.ScoreBody, shapes.ReportShape),
}
_OWN_ERRORS = {
    403: "Without a key only these pages on this machine are answered.",
    405: "This method is not for this address.",
    422: "A field is wrong, or the instruction is: what, where, and how to mend it.",
    500: "It could not be kept on the disk.",
}
_SERVER_ERRORS = {
    401: "The key is missing or unknown.",
    408: "The body came too slowly.",
    413: "The body is too large.",
}
_PLACE = "#/components/schemas/{model}"


def add_to(page: dict[str, Any]) -> None:
    """Put the addresses and their shapes into a page of OpenAPI that describes the errors of the server already."""
    schemas = page.setdefault("components", {}).setdefault("schemas", {})
    error = _schema(shapes.UiErrorShape, schemas)
    for name, (method, body, answer) in ADDRESSES.items():
        responses: dict[str, Any] = {"200": _json("The answer.", _schema(answer, schemas))}
        responses |= {str(status): _json(text, error) for status, text in _OWN_ERRORS.items()}
        server = {"$ref": _PLACE.format(model="ErrorShape")}
        both = {"anyOf": [error, server]}
        responses["403"] = _json(_OWN_ERRORS[403], both)
        responses |= {str(status): _json(text, server) for status, text in _SERVER_ERRORS.items()}
        operation: dict[str, Any] = {
            "operationId": name.replace("/", "_"),
            "summary": (answer.__doc__ or name).partition(".")[0].strip(),
            "responses": responses,
        }
        if body is not None:
            content = {"application/json": {"schema": _schema(body, schemas)}}
            operation["requestBody"] = {"required": True, "content": content}
        page["paths"][f"/ui/api/{name}"] = {method: operation}


def _schema(shape: type[BaseModel], schemas: dict[str, Any]) -> dict[str, str]:
    """A reference to a shape, which is put among the others under a name of its own."""
    name = f"Ui{shape.__name__.removeprefix('Ui')}"
    made = shape.model_json_schema(ref_template=_PLACE.replace("{model}", "Ui{model}"))
    for inner, schema in made.pop("$defs", {}).items():
        schemas[f"Ui{inner}"] = schema
    schemas[name] = made
    return {"$ref": _PLACE.format(model=name)}


def _json(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}
