"""The journal of a draft: what is written comes back, whatever happens to the file; nothing else ever does."""

import itertools
import json
import os
import resource
import struct
import tempfile
import tracemalloc
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_bcp.errors import PoolError, PoolVersionError
from napari_bcp.pool import drafts
from napari_bcp.pool.drafts import Draft
from napari_bcp.pool.edit_records import History, Record, bounding_box, difference, put

SHAPE = (3, 4, 5)
BEGIN = 10  # bytes before the first frame


def some_labels(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 4, shape, dtype=np.uint8)


def edits_between(states):
    """Return the edit from each state to the next."""
    return [difference(f"edit {n}", *pair) for n, pair in enumerate(itertools.pairwise(states))]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "drafts" / "a.journal"


@pytest.fixture
def states():
    """Six labels, each made from the one before by an edit."""
    return [some_labels(seed) for seed in range(6)]


@pytest.fixture
def full(path, states):
    """A journal of five edits; return its path."""
    draft = Draft.create(path, states[0], {"source": "pseudo-label", "run": "0001", "step": np.int64(12)})
    for number, record in enumerate(edits_between(states)):
        draft.append(record, seconds=float(number))
    draft.sync()
    draft.close()
    return path


@contextmanager
def disk_of(size):
    """No file can grow beyond `size` bytes inside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def ends_of_frames(content):
    """Return where each frame of a journal ends."""
    ends, place = [], BEGIN
    while place < len(content):
        (length,) = struct.unpack_from("<I", content, place)
        place += 9 + length
        ends.append(place)
    return ends


# -- edits --------------------------------------------------------------------------------------------------------


def test_an_edit_lies_in_the_smallest_box_and_changes_nothing_outside_its_voxels():
    before = np.zeros(SHAPE, np.uint8)
    after = before.copy()
    after[1, 1, 2], after[2, 3, 2] = 7, 9
    record = difference("paint", before, after)
    assert record.box == (slice(1, 3), slice(1, 4), slice(2, 3))
    assert record.changed == 2
    mask, old, new = record.values()
    assert mask.sum() == 2
    assert (old.tolist(), new.tolist()) == ([0, 0], [7, 9])
    elsewhere = np.full(SHAPE, 5, np.uint8)
    put(elsewhere, record)
    assert (elsewhere[1, 1, 2], elsewhere[2, 3, 2], (elsewhere == 5).sum()) == (7, 9, elsewhere.size - 2)


def test_equal_labels_make_no_edit():
    assert difference("paint", some_labels(1), some_labels(1)) is None


@given(mask=st.lists(st.booleans(), min_size=60, max_size=60))
def test_the_box_is_the_smallest_one(mask):
    mask = np.array(mask).reshape(SHAPE)
    box = bounding_box(mask)
    if not mask.any():
        assert box is None
        return
    where = np.nonzero(mask)
    assert box == tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in where)


def test_the_oldest_edits_fall_off_undo_when_memory_is_used_up():
    records = [Record(str(n), (slice(0, 1),) * 3, 1, bytes(500)) for n in range(5)]  # 1000 bytes each
    history = History(limit=3000)
    for record in records[:4]:
        history.add(record)
    assert [one.operation for one in history.records] == ["1", "2", "3"]
    history.undo()
    history.undo()
    history.add(records[4])  # the two undone ones make room
    assert [one.operation for one in history.records] == ["1", "4"]
    assert history.undone == []


# -- writing and reading ------------------------------------------------------------------------------------------


def test_a_journal_brings_back_labels_facts_and_what_can_be_undone(full, states):
    draft = Draft.open(full, SHAPE)
    np.testing.assert_array_equal(draft.array, states[-1])
    np.testing.assert_array_equal(draft.base, states[0])
    assert [record.operation for record in draft.records] == [f"edit {n}" for n in range(5)]
    assert draft.undone == []
    assert (draft.note, draft.seconds) == ("", 4.0)
    facts = draft.facts
    assert facts.pop("time").endswith("+00:00")
    assert facts == {"source": "pseudo-label", "run": "0001", "step": 12, "shape": [3, 4, 5], "axes": "z,y,x display"}
    for record, state in zip(reversed(draft.records), reversed(states[:-1]), strict=True):
        put(draft.array, record, back=True)
        np.testing.assert_array_equal(draft.array, state)


def test_undo_and_redo_are_in_the_journal(full, states):
    draft = Draft.open(full, SHAPE)
    for _ in range(3):
        draft.append_undo()
    draft.append_redo(seconds=9.5)
    draft.close()
    again = Draft.open(full, SHAPE)
    np.testing.assert_array_equal(again.array, states[3])
    assert [one.operation for one in again.records] == ["edit 0", "edit 1", "edit 2"]
    assert [one.operation for one in again.undone] == ["edit 4", "edit 3"]
    assert again.seconds == 9.5
    again.append(difference("other", states[3], states[0]))
    again.close()
    last = Draft.open(full, SHAPE)
    np.testing.assert_array_equal(last.array, states[0])
    assert last.undone == []


def test_reading_changes_no_file(full):
    content = full.read_bytes() + b"torn"
    full.write_bytes(content)
    Draft.open(full, SHAPE).close()
    assert full.read_bytes() == content


def test_a_journal_that_lies_there_already_is_kept(full, states):
    former = full.read_bytes()
    Draft.create(full, states[2], {})
    assert full.with_name("a.journal.before").read_bytes() == former
    np.testing.assert_array_equal(Draft.open(full, SHAPE).array, states[2])


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(path, states):
    path.parent.mkdir()
    for name in (".tmp-abc-a.journal", ".tmp-abc-b.journal"):
        (path.parent / name).write_bytes(b"x")
    Draft.create(path, states[0], {})
    assert sorted(one.name for one in path.parent.iterdir()) == [".tmp-abc-b.journal", "a.journal"]


def test_only_labels_become_a_draft(path):
    for labels in (np.zeros(SHAPE, np.int32), np.zeros((3, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8 labels with three axes"):
            Draft.create(path, labels, {})
    with pytest.raises(PoolError, match="more facts than it can hold"):
        Draft.create(path, np.zeros(SHAPE, np.uint8), {"text": "x" * 70_000})
    assert not path.exists()


def test_labels_in_another_order_of_memory_are_brought_back_alike(path):
    labels = np.asfortranarray(some_labels(3))
    Draft.create(path, labels, {})
    np.testing.assert_array_equal(Draft.open(path, SHAPE).array, labels)


def test_a_draft_is_deleted_once_and_for_all(full):
    draft = Draft.open(full, SHAPE)
    draft.append_undo()
    draft.delete()
    assert not full.exists()
    draft.delete()


# -- compacting ---------------------------------------------------------------------------------------------------


def test_a_compact_journal_holds_the_same_labels_and_nothing_to_undo(full, states):
    draft = Draft.open(full, SHAPE)
    draft.compact()
    again = Draft.open(full, SHAPE)
    np.testing.assert_array_equal(again.array, states[-1])
    np.testing.assert_array_equal(again.base, states[0])
    assert (again.facts, again.seconds, again.records, again.note) == (draft.facts, 4.0, [], "")


def test_a_compacted_journal_goes_on(full, states):
    draft = Draft.open(full, SHAPE)
    draft.compact()
    draft.append(difference("later", states[-1], states[2]))
    draft.compact()
    draft.append(difference("last", states[2], states[1]))
    draft.close()
    again = Draft.open(full, SHAPE)
    np.testing.assert_array_equal(again.array, states[1])
    assert [one.operation for one in again.records] == ["last"]


def test_a_journal_without_new_edits_is_not_written_again(full):
    Draft.open(full, SHAPE).compact()
    was = full.stat().st_ino
    Draft.open(full, SHAPE).compact()
    assert full.stat().st_ino == was


def test_edits_that_were_all_taken_back_leave_the_base(path, states):
    draft = Draft.create(path, states[0], {})
    draft.append(difference("paint", states[0], states[1]))
    draft.append_undo()
    draft.compact()
    np.testing.assert_array_equal(Draft.open(path, SHAPE).array, states[0])


def test_a_journal_that_the_disk_has_changed_is_not_compacted(full):
    draft = Draft.open(full, SHAPE)
    content = bytearray(full.read_bytes())
    content[-1] ^= 1
    full.write_bytes(content)
    with pytest.raises(PoolError, match="not what was written to it"):
        draft.compact()
    assert full.read_bytes() == content


# -- disks that fail ----------------------------------------------------------------------------------------------


def test_an_edit_that_was_written_by_half_is_taken_back_and_can_be_repeated(full, states):
    whole = full.read_bytes()
    draft = Draft.open(full, SHAPE)
    record = difference("more", states[-1], states[0])
    with disk_of(len(whole) + 20), pytest.raises(OSError, match="large"):
        draft.append(record)
    assert full.read_bytes() == whole
    draft.append(record)
    draft.close()
    again = Draft.open(full, SHAPE)
    np.testing.assert_array_equal(again.array, states[0])
    assert (len(again.records), again.note) == (6, "")


def test_a_half_edit_that_could_not_even_be_taken_back_is_cut_before_the_next_one(full, states, monkeypatch):
    draft = Draft.open(full, SHAPE)
    record = difference("more", states[-1], states[0])
    draft.append_undo()

    class Gone:
        """A share that goes away in the middle of a write."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            self.file.write(bytes(data)[:7])
            raise OSError(5, "Input/output error")

        def truncate(self, size):
            raise OSError(5, "Input/output error")

        def close(self):
            self.file.close()
            raise OSError(5, "Input/output error")

    draft._file = Gone(draft._file)
    with pytest.raises(OSError, match="Input/output"):
        draft.append_redo()
    draft.append_redo()
    draft.append(record)
    draft.close()
    again = Draft.open(full, SHAPE)
    np.testing.assert_array_equal(again.array, states[0])
    assert again.note == ""


def test_a_removed_or_shortened_journal_is_noticed(full, states):
    draft = Draft.open(full, SHAPE)
    draft.append_undo()
    draft.sync()
    content = full.read_bytes()
    full.unlink()
    with pytest.raises(FileNotFoundError):
        draft.append_redo()
    full.write_bytes(content[:-3])
    with pytest.raises(OSError, match="shorter"):
        draft.append_redo()
    full.write_bytes(content)
    draft.append_redo()
    draft.close()
    np.testing.assert_array_equal(Draft.open(full, SHAPE).array, states[-1])


def test_a_creation_that_fails_leaves_no_journal(path, states):
    with disk_of(30), pytest.raises(OSError, match="large"):
        Draft.create(path, states[0], {})
    assert list(path.parent.iterdir()) == []


# -- torn, damaged and hostile files ------------------------------------------------------------------------------


def test_a_journal_cut_at_any_byte_gives_the_edits_that_are_whole(full, states):
    content = full.read_bytes()
    ends = ends_of_frames(content)
    for cut in range(len(content)):
        full.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends) - 2  # facts and base
        if whole < 0:
            with pytest.raises(PoolError, match=r"a\.journal is damaged at its begin"):
                Draft.open(full, SHAPE)
            continue
        draft = Draft.open(full, SHAPE)
        np.testing.assert_array_equal(draft.array, states[whole])
        assert bool(draft.note) == (cut not in ends)


def test_writing_goes_on_where_the_journal_was_whole(full, states):
    full.write_bytes(full.read_bytes()[:-5])
    draft = Draft.open(full, SHAPE)
    assert "a.journal all is there up to edit 4" in draft.note
    draft.append(difference("anew", states[4], states[0]))
    draft.close()
    again = Draft.open(full, SHAPE)
    np.testing.assert_array_equal(again.array, states[0])
    assert (len(again.records), again.note) == (5, "")


@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3), cut=st.data())
@settings(deadline=None)
def test_changed_bytes_shorten_the_journal_or_are_refused(changes, cut):
    states = [some_labels(seed) for seed in range(5)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.journal"
        draft = Draft.create(path, states[0], {"run": "0001"})
        for record in edits_between(states):
            draft.append(record)
        draft.close()
        content = bytearray(path.read_bytes())
        for place, by in changes:
            content[place % len(content)] ^= by
        begin = cut.draw(st.integers(0, len(content)))
        end = cut.draw(st.integers(begin, len(content)))
        path.write_bytes(content[:begin] + content[end:])
        try:
            found = Draft.open(path, SHAPE)
        except PoolError:
            return
        np.testing.assert_array_equal(found.array, states[len(found.records)])


@given(content=st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_end_in_one_sentence(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.journal"
        for begin in (b"", b"bcpdraft", b"bcpdraft\1\0"):
            path.write_bytes(begin + content)
            with pytest.raises(PoolError, match=r"a\.journal"):
                Draft.open(path, SHAPE)


def test_a_frame_that_is_lost_doubled_or_moved_is_noticed(full, states):
    """Each is whole by itself."""
    content = full.read_bytes()
    ends = ends_of_frames(content)
    head, frames = content[: ends[1]], [content[slice(*pair)] for pair in itertools.pairwise(ends[1:])]
    for order in ([0, 2, 3, 4], [0, 0, 1, 2], [0, 2, 1, 3]):
        full.write_bytes(head + b"".join(frames[n] for n in order))
        draft = Draft.open(full, SHAPE)
        np.testing.assert_array_equal(draft.array, states[1])
        assert "up to edit 1" in draft.note


def journal(*frames):
    """Return a journal of frames whose checksums are right, whatever they say."""
    content, checksum = b"bcpdraft\1\0", 0
    for kind, payload in frames:
        frame, checksum = drafts._framed(kind, payload, checksum)
        content += frame
    return content


FACTS = json.dumps({"shape": list(SHAPE)}).encode()
BASE = zlib.compress(bytes(60))


def edit(places=(0, 1, 0, 1, 0, 2), changed=1, name=b"x", content=None, seconds=1.0):
    if content is None:
        content = zlib.compress(bytes([0b10000000, 0, 7]))
    return struct.pack("<d6IIB", seconds, *places, changed, len(name)) + name + content


@pytest.mark.parametrize(
    "frames",
    [
        [(0, b"[]"), (1, BASE)],
        [(0, b"[" * 60_000), (1, BASE)],
        [(0, b"\xff"), (1, BASE)],
        [(0, b"{}"), (1, BASE)],
        [(0, json.dumps({"shape": [3, 4, 6]}).encode()), (1, BASE)],
        [(0, FACTS + b" " * 70_000), (1, BASE)],
        [(1, BASE), (0, FACTS)],
        [(0, FACTS), (5, edit())],
        [(0, FACTS), (1, b"no zlib")],
        [(0, FACTS), (1, zlib.compress(bytes(59)))],
        [(0, FACTS), (1, zlib.compress(bytes(61)))],
        [(0, FACTS), (1, BASE + b"x")],
        [(0, FACTS), (1, BASE[:-1])],
    ],
)
def test_a_begin_that_says_what_cannot_be_is_refused(path, frames):
    path.parent.mkdir()
    path.write_bytes(journal(*frames))
    with pytest.raises(PoolError, match=r"a\.journal"):
        Draft.open(path, SHAPE)


@pytest.mark.parametrize(
    "frame",
    [
        (5, b""),
        (5, edit()[:30]),
        (5, edit(places=(0, 4, 0, 1, 0, 2))),
        (5, edit(places=(0, 1, 2, 1, 0, 2))),
        (5, edit(places=(0, 1, 1, 1, 0, 2))),
        (5, edit(places=(0, 1, 0, 1, 0, 2**32 - 1))),
        (5, edit(changed=0)),
        (5, edit(changed=3)),
        (5, edit(changed=2**32 - 1)),
        (5, edit(changed=2)),
        (5, edit(name=b"x" * 200)[:100]),
        (5, edit(content=b"")),
        (5, edit(content=zlib.compress(bytes([0b11000000, 0, 7])))),
        (5, edit(content=zlib.compress(bytes(1000)))),
        (3, struct.pack("<d", 1.0) + b"x"),
        (4, struct.pack("<d", 1.0)),
        (2, edit()),
        (9, struct.pack("<d", 1.0)),
        (1, BASE),
    ],
)
def test_a_frame_that_says_what_cannot_be_ends_the_journal(path, frame):
    """The edit before it is kept, the one after it is not made."""
    path.parent.mkdir()
    path.write_bytes(journal((0, FACTS), (1, BASE), (5, edit()), frame, (5, edit((1, 2, 0, 1, 0, 2)))))
    draft = Draft.open(path, SHAPE)
    assert draft.array[0, 0, 0] == 7
    assert draft.array.sum() == 7
    assert len(draft.records) == 1
    assert "up to edit 1" in draft.note


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -5.0])
def test_a_time_that_cannot_be_is_no_time(path, seconds):
    path.parent.mkdir()
    path.write_bytes(journal((0, FACTS), (1, BASE), (5, edit(seconds=seconds))))
    assert Draft.open(path, SHAPE).seconds == 0.0


@pytest.mark.parametrize("where", ["base", "edit"])
def test_a_few_bytes_never_become_much_memory(path, where):
    """They would unpack to 300 MB."""
    bomb = zlib.compressobj()
    packed = b"".join(bomb.compress(bytes(1_000_000)) for _ in range(300)) + bomb.flush()
    shape = (100, 100, 100)
    frames = [(0, json.dumps({"shape": list(shape)}).encode()), (1, zlib.compress(bytes(1_000_000)))]
    frames = [frames[0], (1, packed)] if where == "base" else [*frames, (5, edit(content=packed))]
    path.parent.mkdir()
    path.write_bytes(journal(*frames))
    tracemalloc.start()
    try:
        if where == "base":
            with pytest.raises(PoolError, match="damaged"):
                Draft.open(path, shape)
        else:
            assert Draft.open(path, shape).note
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_length_is_not_believed_before_it_is_compared_with_the_file(path):
    path.parent.mkdir()
    path.write_bytes(b"bcpdraft\1\0" + struct.pack("<IBI", 2**32 - 1, 0, 0))
    os.truncate(path, 5_000_000_000)  # takes no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(PoolError, match="damaged"):
            Draft.open(path, (1000, 1000, 1000))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_newer_journal_is_refused_and_left_alone(full):
    content = full.read_bytes()
    full.write_bytes(content[:8] + b"\2\0" + content[10:])
    with pytest.raises(PoolVersionError, match="update napari-bcp"):
        Draft.open(full, SHAPE)


def test_a_missing_journal_and_one_of_another_scan_are_named(full, path):
    with pytest.raises(PoolError, match=r"b\.journal cannot be read"):
        Draft.open(path.with_name("b.journal"), SHAPE)
    with pytest.raises(PoolError, match=r"a\.journal has the shape \[3, 4, 5\] and its case \[4, 3, 5\]"):
        Draft.open(full, (4, 3, 5))
    with pytest.raises(PoolError, match="cannot be read"):
        Draft.open(path.parent, SHAPE)
