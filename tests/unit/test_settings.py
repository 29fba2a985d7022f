"""The settings tree: ranks of its sources, refusals, and the page that is made from it."""

from pathlib import Path

import pytest

from runyard.settings import BadSettings, Settings, default_data_dir, load, reference_page

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the developer's own variables and data folder."""
    import os

    for name in list(os.environ):
        if name.upper().startswith("RUNYARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RUNYARD_DATA_DIR", str(tmp_path))


def test_load_without_sources_gives_the_documented_defaults(tmp_path: Path) -> None:
    settings = load()
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8080, tmp_path)
    assert settings.runtimes.engine == "namespaces"
    assert settings.limits.body_bytes == 128 << 20
    assert settings.exec.default_timeout_secs == 3600
    assert settings.metrics.open is False


def test_load_ranks_flag_over_environment_over_file_over_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "runyard.toml").write_text(
        'host = "1.1.1.1"\nport = 1\n[limits]\nexecs_total = 11\nexecs_per_runtime = 12\n'
    )
    monkeypatch.setenv("RUNYARD_PORT", "2")
    monkeypatch.setenv("RUNYARD_LIMITS__EXECS_TOTAL", "22")
    settings = load(port=3, host=None)
    assert (settings.host, settings.port) == ("1.1.1.1", 3)
    assert (settings.limits.execs_total, settings.limits.execs_per_runtime) == (22, 12)
    assert settings.limits.requests_at_once == 4096


def test_load_named_file_is_read_and_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNYARD_CONFIG", str(tmp_path / "other.toml"))
    with pytest.raises(BadSettings, match=r"other\.toml.*does not exist"):
        load()
    (tmp_path / "other.toml").write_text("port = 77\n")
    assert load().port == 77


def test_load_file_that_is_no_toml_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "runyard.toml").write_text("port: 1\n")
    with pytest.raises(BadSettings, match=r"runyard\.toml cannot be read"):
        load()


def test_load_file_with_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "runyard.toml").write_text("[limits]\nbody_bites = 1\n")
    with pytest.raises(BadSettings, match=r"limits\.body_bites"):
        load()


def test_load_unknown_nested_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_LIMITS__BODY_BITES", "1")
    with pytest.raises(BadSettings, match="RUNYARD_LIMITS__BODY_BITES"):
        load()


@pytest.mark.parametrize(
    ("variable", "text", "example"),
    [
        ("RUNYARD_INFRASTRUCTURE__LOCAL_REPOSITORIES", "/srv/git", """='["a", "b"]'"""),
        ("RUNYARD_RUNTIMES__DIRECTORY_BASES", "alpine=/srv/alpine", """='{"name": "value"}'"""),
    ],
)
def test_load_list_or_map_that_is_no_json_is_refused_with_an_example(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, example: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(BadSettings) as refused:
        load()
    assert f"{variable} is no JSON" in refused.value.message
    assert refused.value.message.endswith(variable + example)


def test_load_group_that_is_no_json_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_RUNTIMES", "{bad")
    with pytest.raises(BadSettings, match='field "runtimes"'):
        load()


def test_load_flat_variables_of_the_command_line_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("RUNYARD_TOKEN", "ry_x")
    assert load().port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "eighty"),
        ("RUNTIMES__ENGINE", "docker"),
        ("LIMITS__BODY_BYTES", "5"),
        ("EXEC__KILL_GRACE_SECS", "-1"),
        ("ADMIN_TOKEN", "1234567"),
    ],
)
def test_load_bad_value_is_refused_naming_setting_and_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"RUNYARD_{name}", value)
    with pytest.raises(BadSettings) as caught:
        load()
    assert f"RUNYARD_{name}" in caught.value.message
    assert name.lower().replace("__", ".") in caught.value.message


def test_load_empty_token_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_ADMIN_TOKEN", "")
    assert load().admin_token is None


def test_load_error_never_shows_the_value_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_ADMIN_TOKEN", "very-secret-token")
    monkeypatch.setenv("RUNYARD_PORT", "none")
    with pytest.raises(BadSettings) as caught:
        load()
    assert "very-secret" not in caught.value.message
    monkeypatch.delenv("RUNYARD_PORT")
    assert "very-secret" not in repr(load())


def test_default_data_dir_of_a_person_is_in_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "runyard"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/runyard")


def test_reference_page_equals_the_published_one() -> None:
    published = (REPOSITORY / "docs" / "settings.md").read_text()
    assert published == reference_page(), "run `make docs`"


def test_settings_every_one_is_described() -> None:
    page = reference_page()
    assert "None |" not in page
    for group in ("limits", "exec", "runtimes", "output", "logging", "metrics"):
        assert f"`{group}." in page
    assert Settings.model_config["extra"] == "forbid"
