"""Labels that look wrong, and accuracy without them."""
