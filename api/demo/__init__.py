"""The page where anyone tries a bundle: `aisles demo`. Needs the extra `demo`; nothing leaves the machine."""
