"""Answers tls-alpn-01 challenges; its keys are made in memory and prove nothing."""
