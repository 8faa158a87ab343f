"""sbgw: a local gateway that routes coding agents' model requests by a policy that its user can read and edit."""

__version__ = "0.1.0"
