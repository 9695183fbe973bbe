"""A client of the HTTP API, for tests."""

from typing import Any

import aiohttp

SECRET = "Zk3vQ8rT1mWx6Lp0YdJ9sHb4NcVgFa2E"


class ApiClient:
    """Calls the API on a port; each call says who it is. The answer is (status, JSON)."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/_matrix_bridge/v1"

    async def call(
        self, method: str, path: str, token: str | None, body: Any = None, raw: bytes | None = None, **query: str
    ) -> tuple[int, dict[str, Any]]:
        """One request."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                f"{self._base}{path}",
                params=query,
                data=raw,
                json=body if raw is None else None,
                headers=headers,
            ) as response,
        ):
            return response.status, await response.json()
