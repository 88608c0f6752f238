"""Everything a client touches: guard, routes, handlers, replies."""

from proxy.front.accept import Site
from proxy.front.context import FRONT, Front
from proxy.front.door import Door
from proxy.front.protocol import Runner, quiet_loop

__all__ = ["FRONT", "Door", "Front", "Runner", "Site", "quiet_loop"]
