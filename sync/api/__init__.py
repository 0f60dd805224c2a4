"""The JSON API: the same deeds and facts as the pages, for programs."""
