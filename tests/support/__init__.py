"""Helpers that tests share: real servers, light clients, the vendor's SDKs, leak checks. No test lives here."""
