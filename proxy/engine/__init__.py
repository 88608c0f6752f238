"""Runs requests: plan, attempts, relay, outcome."""

from proxy.engine.attempt import Attempter
from proxy.engine.call import Call, ClientGone, Reply, Unfinished
from proxy.engine.clocks import Interrupt, Ticker
from proxy.engine.engine import Engine
from proxy.engine.probe import probe

__all__ = ["Attempter", "Call", "ClientGone", "Engine", "Interrupt", "Reply", "Ticker", "Unfinished", "probe"]
