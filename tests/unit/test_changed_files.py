"""Changed files: the grammar of git's diffs, made by the real git, and reading from a hostile checkout."""

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.infrastructure.plans.files import read_beneath
from runyard.infrastructure.plans.patches import MAX_PATCH, read_patches
from tests.support.repositories import Repository

DIFF = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index", "-M")


def repository(folder: Path) -> Repository:
    """Make an empty repository."""
    folder.mkdir()
    made = Repository(folder)
    made.git("init", "--quiet", "-b", "main")
    return made


def test_diff_of_git_is_read_with_odd_names_and_all_kinds_of_change(tmp_path: Path) -> None:
    made = repository(tmp_path / "r")
    text = "".join(f"line {number}\n" for number in range(30))
    base = made.commit(
        "one", {"a.tf": "x\ny\n", "gone.tf": "z\n", "old/name.tf": text, "m.sh": "#!\n", "same": "s"}
    )
    (made.folder / "bin").write_bytes(b"\0\1\2")
    os.chmod(made.folder / "m.sh", 0o755)
    head = made.commit(
        "two",
        {
            "a.tf": "x\n--- not a header\n+++ neither\n",
            "gone.tf": None,
            "old/name.tf": None,
            'new/näme "q"\t.tf': text + "more\n",
            "empty": "",
            "sp ace/b c.tf": "1\n",
        },
    )
    diff = made.git(*DIFF, base, head).encode()
    found = {one.path: one for one in read_patches(diff)}
    assert {path: one.status for path, one in found.items()} == {
        "a.tf": "modified",
        "gone.tf": "removed",
        'new/näme "q"\t.tf': "renamed",
        "empty": "added",
        "sp ace/b c.tf": "added",
        "bin": "added",
        "m.sh": "modified",
    }
    assert (found["a.tf"].additions, found["a.tf"].deletions) == (2, 1)
    assert found['new/näme "q"\t.tf'].previous_path == "old/name.tf"
    assert found["bin"].binary
    assert found["gone.tf"].deletions == 1


def test_carriage_return_in_a_line_begins_no_other_file() -> None:
    head = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n"
    (found,) = read_patches(head + b"+1\rdiff --git a/fake b/fake\n")
    assert (found.path, found.additions) == ("x", 1)


def test_long_patch_is_cut_at_a_line() -> None:
    body = b"".join(b"+%d\n" % number for number in range(100_000))
    (found,) = read_patches(b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n" + body)
    assert found.additions == 100_000
    assert MAX_PATCH - 100 < len(found.patch) < MAX_PATCH + 100
    assert found.patch.endswith(b"not kept.\n")


@given(st.binary(max_size=300) | st.lists(st.sampled_from([
    b"diff --git a/x b/x\n", b'diff --git "a/\\303" "b/\\', b"+++ ", b"--- a/", b"@@", b"rename to \n", b"\\9", b'"',
]), max_size=8).map(b"".join))  # fmt: skip
@settings(max_examples=100)
def test_bytes_that_are_no_diff_raise_nothing(data: bytes) -> None:
    for one in read_patches(data):
        one.path.encode()


def test_file_of_a_hostile_checkout_is_read_only_beneath_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "file").write_text("fine")
    (root / "link").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    os.mkfifo(root / "pipe")
    (root / "large").write_bytes(b"x" * (300 << 10))
    assert read_beneath(root, "dir/file") == (b"fine", 4)
    assert read_beneath(root, "large") == (None, 300 << 10)
    for path in (
        "link",
        "folder/secret",
        "../outside/secret",
        "pipe",
        "dir",
        "",
        "/etc/passwd",
        "a\0b",
        "dir//file",
    ):
        assert read_beneath(root, path) == (None, None), path
