"""What trains a bundle, behind one interface."""
