"""Writing files whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_bcp.files import write_text


def test_a_file_system_that_refuses_rights_still_takes_files(tmp_path, monkeypatch):
    """As network shares and memory cards do."""

    def refuse(path, mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    write_text(tmp_path / "a.txt", "all of it")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "all of it"


@pytest.mark.skipif(os.name != "posix", reason="rights are those of a folder here")
@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o027, 0o640)])
def test_a_file_has_the_rights_that_its_writers_files_have(tmp_path, umask, rights):
    """Temporary files are for their owner alone: colleagues who share the folder could not read it."""
    write = f"from napari_bcp.files import write_text; write_text({str(tmp_path / 'a')!r}, '')"
    program = f"import os; os.umask({umask}); {write}"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == rights
