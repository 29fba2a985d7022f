"""Building blocks without a domain: ids, clock, errors, transitions, events, crypto, blobs, paging."""
