"""The referee for predictions made anywhere: joined by name, judged, reported; no network is loaded."""
