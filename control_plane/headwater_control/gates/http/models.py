"""/v1/models and /v1/versions: graphs in, parameters in, model.onnx out."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from headwater_wire.ids import VersionId

from headwater_control.gates.http import schemas
from headwater_control.gates.http.needs import OPERATOR, VIEWER
from headwater_control.gates.http.upload import received
from headwater_control.gates.http.within import InWorld
from headwater_control.service import models

UPLOADS = frozenset({"/v1/models", "/v1/models/check", "/v1/versions"})
_RAW_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter()


class Form(StrEnum):
    """What a file of parameters can be."""

    SAFETENSORS = "safetensors"
    NPZ = "npz"
    ONNX = "onnx"


@router.post("/v1/models", status_code=201, tags=["models"], openapi_extra=_RAW_BODY, dependencies=OPERATOR)
async def import_model(
    world: InWorld,
    request: Request,
    name: Annotated[schemas.Name, Query()],
    loss: Annotated[str, Query(max_length=20_000, description="such as cross_entropy, or huber:delta=0.5")],
    trainable: Annotated[list[str] | None, Query(description="selectors; none: everything that can train")] = None,
    output: Annotated[str, Query(max_length=1000, description="which graph output the loss reads, if several")] = "",
) -> schemas.ModelImport:
    """Import the ONNX file in the body: check it, make the bundle, prove that it trains."""
    async with received(request, world.settings.work_dir, ".onnx") as path:
        imported = await models.import_model(
            world, name, path, loss=loss, trainable=tuple(trainable or ()), output=output
        )
    return schemas.ModelImport.model_validate(imported)


@router.post("/v1/models/check", tags=["models"], openapi_extra=_RAW_BODY, dependencies=OPERATOR)
async def check_model(
    world: InWorld,
    request: Request,
    loss: Annotated[str, Query(max_length=20_000, description="such as cross_entropy, or huber:delta=0.5")],
    trainable: Annotated[list[str] | None, Query(description="selectors; none: everything that can train")] = None,
    output: Annotated[str, Query(max_length=1000, description="which graph output the loss reads, if several")] = "",
    batch_size: Annotated[int, Query(ge=1, le=4096, description="examples a step")] = 32,
) -> schemas.ModelCheck:
    """Say what training the ONNX file in the body would take; nothing is kept."""
    async with received(request, world.settings.work_dir, ".onnx") as path:
        checked = await models.check_model(
            world, path, loss=loss, trainable=tuple(trainable or ()), output=output, batch_size=batch_size
        )
    return schemas.ModelCheck.model_validate(checked)


@router.get("/v1/models", tags=["models"], dependencies=VIEWER)
async def list_models(world: InWorld) -> list[schemas.Model]:
    """List the models by name."""
    return [schemas.Model.model_validate(model) for model in await models.list_models(world)]


@router.get("/v1/models/{model}", tags=["models"], dependencies=VIEWER)
async def show_model(world: InWorld, model: schemas.Name) -> schemas.Model:
    """Show one."""
    return schemas.Model.model_validate(await models.show_model(world, model))


@router.post("/v1/versions", status_code=201, tags=["versions"], openapi_extra=_RAW_BODY, dependencies=OPERATOR)
async def import_version(
    world: InWorld, request: Request, model: Annotated[schemas.Name, Query()], format: Annotated[Form, Query()]
) -> schemas.Version:
    """Make a version of the centrally retrained parameters in the body."""
    async with received(request, world.settings.work_dir, f".{format}") as path:
        return schemas.Version.model_validate(await models.import_version(world, model, path))
    raise AssertionError("received() swallows nothing")


@router.get("/v1/versions", tags=["versions"], dependencies=VIEWER)
async def list_versions(world: InWorld, model: Annotated[schemas.Name, Query()]) -> list[schemas.Version]:
    """List a model's versions, oldest first."""
    return [schemas.Version.model_validate(version) for version in await models.versions(world, model)]


@router.get("/v1/versions/{version}", tags=["versions"], dependencies=VIEWER)
async def show_version(world: InWorld, version: schemas.Name) -> schemas.Version:
    """Show one."""
    return schemas.Version.model_validate(await models.show_version(world, VersionId(version)))


@router.get(
    "/v1/versions/{version}/model.onnx",
    tags=["versions"],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "self-contained; ETag: its SHA-256"}},
    dependencies=VIEWER,
)
async def export(world: InWorld, version: schemas.Name) -> StreamingResponse:
    """Download a version as a self-contained model.onnx, composed the first time."""
    onnx = (await models.release(world, VersionId(version))).onnx
    return StreamingResponse(
        world.blobs.read(onnx.digest),
        media_type="application/octet-stream",
        headers={
            "content-length": str(onnx.size),
            "etag": f'"{onnx.digest}"',
            "content-disposition": f'attachment; filename="{version}.onnx"',
        },
    )
