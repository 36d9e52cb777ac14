"""Where artefacts are: atomic files, locked folders, the cache, a run's folder."""
