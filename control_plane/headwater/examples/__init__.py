"""Real data small enough to ship, models to train on it, and ways to spread it over devices. Needs headwater[control]."""
