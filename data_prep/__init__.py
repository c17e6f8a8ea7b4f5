"""From listings or a folder of images to one validated table of images."""
