"""The configuration of a Synapse for demos and tests: loopback, SQLite, no federation, no limits.

Synapse ignores unknown keys silently; the ones here were seen to work with 1.163. The files are JSON, which
is YAML too, so nothing here needs a YAML writer.
"""

import base64
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["write_config"]


def write_config(
    directory: Path, *, server_name: str, port: int, registrations: Sequence[Path], shared_secret: str
) -> Path:
    """Writes homeserver.yaml, log.yaml and the signing key into `directory`; returns the first one's path.

    The key is kept when it exists. It is written here, since Synapse's own generator needs seconds to start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    key = directory / "signing.key"
    if not key.exists():
        seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        key.touch(mode=0o600)
        key.write_text(f"ed25519 a_demo {seed}\n")
    log = directory / "log.yaml"
    log.write_text(json.dumps(_log_config(directory / "homeserver.log"), indent=1))
    config = directory / "homeserver.yaml"
    content = {
        "server_name": server_name,
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "pid_file": str(directory / "homeserver.pid"),
        "listeners": [
            {
                "port": port,
                "bind_addresses": ["127.0.0.1"],
                "type": "http",
                "tls": False,
                "x_forwarded": False,
                "resources": [{"names": ["client", "media", "openid"], "compress": False}],
            }
        ],
        "database": {
            "name": "sqlite3",
            "args": {"database": str(directory / "homeserver.db"), "cp_min": 1, "cp_max": 5},
        },
        "log_config": str(log),
        "media_store_path": str(directory / "media"),
        "signing_key_path": str(key),
        "registration_shared_secret": shared_secret,
        "macaroon_secret_key": shared_secret + "-macaroon",
        "form_secret": shared_secret + "-form",
        "app_service_config_files": [str(path) for path in registrations],
        **_features(),
        **_open_limits(),
    }
    config.write_text(json.dumps(content, indent=1))
    return config


def _features() -> dict[str, Any]:
    return {
        "report_stats": False,
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "federation_domain_whitelist": [],
        "send_federation": False,
        "enable_registration": False,
        "bcrypt_rounds": 4,
        "enable_metrics": False,
        "url_preview_enabled": False,
        "push": {"enabled": False},
        "presence": {"enabled": True},
        "serve_server_wellknown": False,
        "dynamic_thumbnails": False,
        "max_upload_size": "50M",
        "limit_remote_rooms": {"enabled": False},
        "encryption_enabled_by_default_for_room_type": "off",
        "experimental_features": {
            "msc2409_to_device_messages_enabled": True,
            "msc3202_transaction_extensions": True,
        },
    }


def _open_limits() -> dict[str, Any]:
    """Every rate limit Synapse has, opened: a demo measures the bridge, not the limiter."""
    wide = {"per_second": 100_000, "burst_count": 100_000}
    return {
        "rc_message": wide,
        "rc_registration": wide,
        "rc_registration_token_validity": wide,
        "rc_admin_redaction": wide,
        "rc_joins_per_room": wide,
        "rc_3pid_validation": wide,
        "rc_third_party_invite": wide,
        "rc_media_create": wide,
        "rc_key_requests": wide,
        "rc_delayed_event_mgmt": wide,
        "rc_room_creation": wide,
        "rc_reports": wide,
        "rc_user_directory": wide,
        "rc_login": {"address": wide, "account": wide, "failed_attempts": wide},
        "rc_joins": {"local": wide, "remote": wide},
        "rc_invites": {"per_room": wide, "per_user": wide, "per_issuer": wide},
        "rc_presence": {"per_user": wide},
    }


def _log_config(file: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}},
        "filters": {"context": {"()": "synapse.logging.context.LoggingContextFilter"}},
        "handlers": {
            "file": {
                "class": "logging.FileHandler",
                "filename": str(file),
                "formatter": "line",
                "filters": ["context"],
                "encoding": "utf-8",
            }
        },
        "loggers": {"synapse.storage.SQL": {"level": "WARNING"}},
        "root": {"level": "INFO", "handlers": ["file"]},
        "disable_existing_loggers": False,
    }
