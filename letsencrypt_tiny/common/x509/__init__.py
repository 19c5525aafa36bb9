"""Reads X.509 certificates and CSRs in process, without believing them."""
