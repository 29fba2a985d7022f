"""What a server says when it is up: address, the first token, and what it can and cannot enforce."""

from runyard import __version__
from runyard.server.house import House


def banner(url: str, house: House) -> str:
    """Return the text for standard output. The token stands in it this once and is never written to a log."""
    lines = [f"Runyard {__version__} at {url}", f"  data   {house.settings.data_dir}"]
    if house.first_token is not None:
        lines += [f"  token  {house.first_token}", "         (admin; shown this once, kept only as a hash)"]
    lines.append(f"  engine {house.engine.name}")
    missing = [item for item in house.engine.capabilities() if not item.enforced]
    for item in house.engine.capabilities():
        mark = "enforced    " if item.enforced else "NOT ENFORCED"
        lines.append(f"    {mark} {item.name}: {item.how}" + (f". To fix: {item.fix}" if item.fix else ""))
    if missing:
        lines.append(f"  {len(missing)} not enforced: requests that need it are refused")
    return "\n".join(lines) + "\n"
