"""The settings of one IRC network: one module per section, `network` puts them together."""

from bridges.irc.config.network import IrcConfig
from bridges.irc.config.sasl import Sasl

__all__ = ["IrcConfig", "Sasl"]
