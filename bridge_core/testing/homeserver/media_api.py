"""Endpoints of the fake about files: reserve, upload, authenticated download."""

from typing import Any

from aiohttp import web

from bridge_core.testing.homeserver.caller import identify
from bridge_core.testing.homeserver.failure import MatrixError, forbidden, not_found
from bridge_core.testing.homeserver.records import File
from bridge_core.testing.homeserver.world import World

__all__ = ["MediaApi"]


class MediaApi:
    """Handlers return what is sent as JSON, or an answer with bytes. Unauthenticated downloads do not exist."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add_to(self, router: "web.UrlDispatcher", wrap: Any) -> None:
        """Adds the routes."""
        router.add_route("GET", "/_matrix/client/v1/media/config", wrap(self.config))
        router.add_route("POST", "/_matrix/media/v3/upload", wrap(self.upload))
        router.add_route("GET", "/_matrix/client/v1/media/download/{server}/{media}", wrap(self.download))
        router.add_route("GET", "/_matrix/client/v1/media/download/{server}/{media}/{name}", wrap(self.download))
        router.add_route("DELETE", "/_synapse/admin/v1/media/{server}/{media}", wrap(self.delete))
        if self._world.profile.async_media:
            router.add_route("POST", "/_matrix/media/v1/create", wrap(self.create))
            router.add_route("PUT", "/_matrix/media/v3/upload/{server}/{media}", wrap(self.put))

    async def config(self, request: web.Request) -> dict[str, Any]:
        identify(self._world, request)
        return {"m.upload.size": self._world.profile.max_upload}

    async def create(self, request: web.Request) -> dict[str, Any]:
        return {"content_uri": self._world.reserve(identify(self._world, request).user)}

    async def upload(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        mxc = self._world.reserve(caller.user)
        await self._fill(request, self._world.file(mxc))
        return {"content_uri": mxc}

    async def put(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        file = self._world.file(f"mxc://{request.match_info['server']}/{request.match_info['media']}")
        if file.owner != caller.user:
            raise forbidden("Only the creator of the media ID can upload to it")
        if file.data is not None:
            raise MatrixError(409, "M_CANNOT_OVERWRITE_MEDIA", "Media ID already has content")
        await self._fill(request, file)
        return {}

    async def download(self, request: web.Request) -> web.StreamResponse:
        identify(self._world, request)
        file = self._world.files.get(f"mxc://{request.match_info['server']}/{request.match_info['media']}")
        if file is None:
            raise not_found("Not found")
        if file.data is None:
            raise MatrixError(504, "M_NOT_YET_UPLOADED", "Media has not been uploaded yet")
        return web.Response(body=file.data, headers={"Content-Type": file.mime})

    async def delete(self, request: web.Request) -> dict[str, Any]:
        identify(self._world, request)
        if not self._world.profile.deletes_media:
            raise forbidden("You are not a server admin")
        media = request.match_info["media"]
        if self._world.files.pop(f"mxc://{request.match_info['server']}/{media}", None) is None:
            raise not_found("Unknown media")
        return {"deleted_media": [media], "total": 1}

    async def _fill(self, request: web.Request, file: File) -> None:
        if request.content_length is None:
            raise MatrixError(400, "M_UNKNOWN", "Request must specify a Content-Length")
        if request.content_length > self._world.profile.max_upload:
            raise MatrixError(413, "M_TOO_LARGE", "Upload request body is too large")
        file.data = await request.read()
        file.mime = request.headers.get("Content-Type", "application/octet-stream")
        file.name = request.query.get("filename")
