# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document of a service, from its models."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from tinyfin import __version__
from tinyfin.serving.service import Operation, Service

__all__ = ["document"]


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="where, such as transactions[3].amount_minor")
    value: str | int | float | bool | None = Field(description="what was sent, shortened")
    message: str = Field(description="what is wrong, and what to do")


class Refusal(BaseModel):
    """Nothing of the request was done."""

    errors: list[Fault] = Field(description="the first five")
    count: int = Field(description="of all faults")


_REFUSALS = {
    "400": "not JSON, or no object",
    "408": "the body did not arrive in time",
    "413": "the body or the list is too long",
    "415": "not sent as application/json",
    "421": "asked by a name that is not the service's",
    "422": "a field is wrong",
    "503": "it cannot be kept at this moment; send it again later",
}


def document(service: Service, operations: Sequence[Operation], batch: int) -> dict[str, object]:
    """OpenAPI 3.1."""
    models: list[type[BaseModel]] = [Refusal]
    for operation in operations:
        models += [operation.model, operation.answer]
    _, schemas = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)],
        ref_template="#/components/schemas/{model}",
    )
    identity: dict[str, object] = {name: {"type": "string"} for name in service.identity()}
    paths: dict[str, object] = {
        operation.path: {"post": _posted(operation, identity, batch)} for operation in operations
    }
    for path, what, kind in (
        ("/health", "Whether it answers, and with what.", "application/json"),
        ("/metrics", "Metrics, as Prometheus reads them.", "text/plain"),
        ("/openapi.json", "This document.", "application/json"),
    ):
        schema = {"type": "string" if kind == "text/plain" else "object"}
        content = {"description": what, "content": {kind: {"schema": schema}}}
        paths[path] = {"get": {"summary": what, "responses": {"200": content}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": service.title, "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }


def _posted(operation: Operation, identity: dict[str, object], batch: int) -> dict[str, object]:
    item, answer, refusal = _ref(operation.model), _ref(operation.answer), _ref(Refusal)
    listed = {"type": "array", "items": item, "minItems": 1, "maxItems": batch}
    several = {operation.answer_many: {"type": "array", "items": answer}}
    answered = [_object({**identity, operation.answer_one: answer}), _object(identity | several)]
    refusals = {key: _json(why, refusal) for key, why in _REFUSALS.items()}
    asked = {"oneOf": [item, _object({operation.many: listed})]}
    return {
        "summary": operation.handle.__doc__,
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {"200": _json("done", {"oneOf": answered}), **refusals},
    }


def _ref(model: type[BaseModel]) -> dict[str, object]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _object(properties: dict[str, object]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _json(what: str, schema: dict[str, object]) -> dict[str, object]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}
