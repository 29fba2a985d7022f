"""Names for runtimes that nobody named. Owns two word lists."""

import secrets

_MOODS = (
    "amber", "bold", "brisk", "calm", "candid", "clever", "cosy", "crisp", "daring", "deft", "dusty", "eager",
    "fabled", "fleet", "frank", "gentle", "glad", "hardy", "hazel", "honest", "jolly", "keen", "kind", "lively",
    "lucid", "mellow", "merry", "mild", "nimble", "noble", "patient", "plucky", "polite", "proud", "quiet", "rapid",
    "ready", "rosy", "sandy", "shady", "silent", "sly", "smart", "snug", "sober", "spry", "steady", "stout",
    "sunny", "swift", "tidy", "tranquil", "upbeat", "vivid", "warm", "wary", "wise", "witty", "young", "zesty",
)  # fmt: skip
_BEASTS = (
    "badger", "beaver", "bison", "bittern", "carp", "civet", "coot", "crane", "curlew", "dingo", "dormouse", "dove",
    "egret", "eland", "ferret", "finch", "gecko", "gibbon", "goose", "grouse", "hare", "heron", "hoopoe", "ibex",
    "ibis", "jackal", "jay", "kestrel", "kudu", "lapwing", "lark", "lemur", "lynx", "magpie", "marmot", "marten",
    "mole", "newt", "okapi", "oriole", "osprey", "otter", "ouzel", "pika", "plover", "puffin", "quail", "raven",
    "robin", "seal", "shrew", "siskin", "skink", "stoat", "stork", "swift", "tapir", "tern", "vole", "wren",
)  # fmt: skip


def random_name() -> str:
    """Return two words joined by an underscore; not unique, as names need not be."""
    return f"{secrets.choice(_MOODS)}_{secrets.choice(_BEASTS)}"
