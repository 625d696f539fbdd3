"""Writing files whole."""

from pathlib import Path

from napari_bcp.files import write_text


def test_a_file_system_that_refuses_rights_still_takes_files(tmp_path, monkeypatch):
    """As network shares and memory cards do."""

    def refuse(path, mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    write_text(tmp_path / "a.txt", "all of it")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "all of it"
