"""Published studies, done again from the download to the verdict."""
