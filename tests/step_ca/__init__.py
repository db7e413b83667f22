"""Certificates from a step-ca: a fake one in the suite, and the real one (`make step-ca`), asked the same."""
