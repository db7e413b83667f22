"""How examples are read, behind one interface."""
