"""Real data small enough to ship, models to train on it, ways to spread it over devices. Needs headwater[control]."""
