"""A request's body, streamed to a file."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

_PIECE_BYTES = 1024 * 1024
_QUIET_S = 60.0


@asynccontextmanager
async def received(request: Request, folder: Path, suffix: str) -> AsyncIterator[Path]:
    """Give the body as a file that is deleted when the context is left. Its size is limited by the Guard."""
    path = folder / f"upload-{secrets.token_hex(8)}{suffix}"
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    try:
        size = await _write(request, path)
        if not size:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "the body is empty: send the file as the body")
        yield path
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _write(request: Request, path: Path) -> int:
    size = 0
    stream = aiter(request.stream())
    piece = bytearray()
    with await asyncio.to_thread(path.open, "xb") as file:
        while True:
            try:
                async with asyncio.timeout(_QUIET_S):
                    chunk = await anext(stream, None)
            except TimeoutError as error:
                raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the upload stopped: send it again") from error
            except ClientDisconnect as error:
                raise HTTPException(HTTPStatus.BAD_REQUEST, "the client went away in mid-upload") from error
            piece += chunk or b""
            if piece and (chunk is None or len(piece) >= _PIECE_BYTES):
                await asyncio.to_thread(file.write, bytes(piece))
                size += len(piece)
                piece.clear()
            if chunk is None:
                return size
