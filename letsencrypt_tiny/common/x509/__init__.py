"""Reads X.509 certificates and certificate requests in process, without believing them."""
