"""The updater of one zone's DNS records for dns-01; it alone knows the zone's credentials."""
