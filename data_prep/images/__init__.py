"""Images and the manifest: reading, checking and splitting them."""
