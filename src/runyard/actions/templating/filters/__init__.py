"""The filters of templates. Owns the table of names; each filter is bounded in time and in the size of its result."""

from collections.abc import Callable, Mapping

from runyard.actions.templating.filters import data, general, patterns, versions
from runyard.actions.templating.filters.wrapping import bounded
from runyard.actions.values import Json

_PRODUCT: Mapping[str, Callable[..., Json]] = {
    "basename": data.basename,
    "decrypt_kv": data.decrypt_kv,
    "dirname": data.dirname,
    "from_json_string": data.from_json_string,
    "from_yaml_string": data.from_yaml_string,
    "json_escape": data.json_escape,
    "jsonpath_query": data.jsonpath_query,
    "regex_match": patterns.regex_match,
    "regex_replace": patterns.regex_replace,
    "regex_search": patterns.regex_search,
    "regex_substring": patterns.regex_substring,
    "to_complex": data.to_complex,
    "to_human_time_from_seconds": data.to_human_time_from_seconds,
    "to_json_string": data.to_json_string,
    "to_yaml_string": data.to_yaml_string,
    "use_none": data.use_none,
    "version_bump_major": versions.version_bump_major,
    "version_bump_minor": versions.version_bump_minor,
    "version_bump_patch": versions.version_bump_patch,
    "version_compare": versions.version_compare,
    "version_equal": versions.version_equal,
    "version_less_than": versions.version_less_than,
    "version_match": versions.version_match,
    "version_more_than": versions.version_more_than,
    "version_strip_patch": versions.version_strip_patch,
}

PRODUCT_FILTERS = frozenset(_PRODUCT)
"""The filters beyond those of the template language."""
FILTERS: Mapping[str, Callable[..., Json]] = {
    name: bounded(function) for name, function in {**general.FILTERS, **_PRODUCT}.items()
}
