"""Which settings of a network can change while the bridge runs."""

from typing import Final

from bridges.irc.config import IrcConfig
from bridges.irc.state import NetworkState

LIVE: Final = frozenset(
    {
        "bot_commands",
        "bot_join_commands",
        "channels",
        "connect_timeout",
        "consent",
        "contact",
        "join_retry",
        "join_timeout",
        "kick_pause",
        "max_lines",
        "mention_length",
        "mode_powers",
        "ops_from_matrix",
        "private_messages",
        "redactions",
        "relay_format",
        "relay_moderation",
        "staff",
        "typing",
    }
)
"""Those that are read each time they are needed: what is said to servers at a connection holds from the next one on."""


def reload(state: NetworkState, new: IrcConfig) -> list[str]:
    """Takes over what can change while connections last; the keys of the rest that is otherwise in `new`."""
    old = state.config
    changed = [name for name in IrcConfig.model_fields if getattr(old, name) != getattr(new, name)]
    update = {name: getattr(new, name) for name in changed if name in LIVE}
    refused = [name for name in changed if name not in LIVE]
    channels = update.get("channels")
    if channels is not None and channels.keys != old.channels.keys:
        update["channels"] = channels.model_copy(update={"keys": old.channels.keys})
        refused.append("channels.keys")
    if update:
        state.config = old.model_copy(update=update)
        state.consents.settings = state.config.consent
    return refused
