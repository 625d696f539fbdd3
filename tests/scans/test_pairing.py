"""Which mask belongs to which scan. Only names count, so the files are empty."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_bcp.errors import ScanError
from napari_bcp.scans import pair
from napari_bcp.scans.pairing import FROM_FOLDERS, _safe


def folder(root, *names):
    """Make empty files, with the folders that they are in."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(pairing):
    """Return {case: (image, mask)} by file names."""
    return {case: (image.name, mask and mask.name) for case, image, mask in pairing.pairs}


def test_scans_alone_are_cases_without_masks_in_order(tmp_path):
    pairing = pair(folder(tmp_path, "b.nii", "a.nii.gz", "c.NII.GZ"))
    assert list(found(pairing).items()) == [
        ("a", ("a.nii.gz", None)),
        ("b", ("b.nii", None)),
        ("c", ("c.NII.GZ", None)),
    ]
    assert pairing.unmatched == pairing.notes == []
    assert pairing.classes is None


def test_masks_in_a_second_folder_have_the_scans_name(tmp_path):
    folder(tmp_path, "images/a.nii.gz", "images/b.nii.gz", "masks/a.nii")
    pairing = pair(tmp_path / "images", tmp_path / "masks")
    assert found(pairing) == {"a": ("a.nii.gz", "a.nii"), "b": ("b.nii.gz", None)}
    assert pairing.pairs[0].mask == tmp_path / "masks" / "a.nii"


@pytest.mark.parametrize("ending", ["_mask", "_label", "_seg", "-mask", "-label", "-seg", "_Mask", "_labels", ".seg"])
@pytest.mark.parametrize("apart", [False, True])
def test_masks_may_be_told_by_an_ending_in_either_folder(ending, apart, tmp_path):
    masks = tmp_path / "masks" if apart else tmp_path / "images"
    folder(tmp_path, "images/a.nii.gz", "images/b.nii.gz")
    folder(masks, f"a{ending}.nii.gz")
    pairing = pair(tmp_path / "images", masks)
    assert found(pairing) == {"a": ("a.nii.gz", f"a{ending}.nii.gz"), "b": ("b.nii.gz", None)}
    assert pairing.unmatched == pairing.notes == []


def test_a_mask_of_no_scan_is_listed_and_not_guessed(tmp_path):
    folder(tmp_path, "images/a.nii", "images/A1.nii", "images/c_seg.nii", "masks/a1.nii", "masks/a_old.nii")
    pairing = pair(tmp_path / "images", tmp_path / "masks")
    assert found(pairing) == {"A1": ("A1.nii", None), "a": ("a.nii", None)}
    assert sorted(path.name for path in pairing.unmatched) == ["a1.nii", "a_old.nii", "c_seg.nii"]
    assert pairing.notes == ["Masks without a scan are left out: a1.nii, a_old.nii, c_seg.nii."]


def test_of_two_masks_for_a_scan_none_is_taken(tmp_path):
    pairing = pair(folder(tmp_path, "a.nii", "a_mask.nii", "a_seg.nii", "b.nii", "b_seg.nii"))
    assert found(pairing) == {"a": ("a.nii", None), "b": ("b.nii", "b_seg.nii")}
    assert [path.name for path in pairing.unmatched] == ["a_mask.nii", "a_seg.nii"]
    assert pairing.notes == ["a.nii has several masks, so none is used: a_mask.nii, a_seg.nii."]


def test_of_two_scans_of_one_name_the_second_is_left_out(tmp_path):
    pairing = pair(folder(tmp_path, "a.nii", "a.nii.gz", "b.nii"))
    assert found(pairing) == {"a": ("a.nii", None), "b": ("b.nii", None)}
    assert pairing.notes == ["a.nii.gz is left out, as a.nii has the same name: rename it to use both."]


def test_hidden_files_other_files_and_subfolders_are_passed_over(tmp_path):
    folder(tmp_path, "a.nii", ".hidden.nii", "._a.nii", "notes.txt", "sub/b.nii", "c.nii/readme.txt")
    assert found(pair(tmp_path)) == {"a": ("a.nii", None)}


def test_subfolders_with_scans_are_noted_unless_the_masks_lie_there(tmp_path):
    folder(tmp_path, "a.nii", "more/b.nii", "x/c.nii.gz", "masks/a.nii", "words/notes.txt")
    (note,) = pair(tmp_path, tmp_path / "masks").notes
    assert note == (
        f"Subfolders of {tmp_path.name} were not looked into, although they hold NIfTI files: more, x; name the one "
        "with masks as that of masks, and put scans into one folder."
    )


def test_scans_in_a_subfolder_of_the_masks_are_not_said_to_be_passed_over(tmp_path):
    folder(tmp_path, "a.nii", "scans/a.nii")
    pairing = pair(tmp_path / "scans", tmp_path)
    assert found(pairing) == {"a": ("a.nii", "a.nii")}
    assert pairing.notes == []


def test_a_folder_of_folders_is_noted(tmp_path):
    folder(tmp_path, "images/a.nii", "masks/a.nii")
    pairing = pair(tmp_path)
    assert pairing.pairs == []
    (note,) = pairing.notes
    assert note.endswith(f"holds no .nii or .nii.gz file, only folders (images, masks): {FROM_FOLDERS}.")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ScanError, match=r"none cannot be read \(No such file or directory\)"):
        pair(tmp_path / "none")
    with pytest.raises(ScanError, match=r"none cannot be read"):
        pair(folder(tmp_path, "a.nii"), tmp_path / "none")


def test_a_single_file_is_a_case(tmp_path):
    folder(tmp_path, "a.nii", "b.nii", "masks/a_seg.nii")
    assert found(pair(tmp_path / "a.nii", tmp_path / "masks")) == {"a": ("a.nii", "a_seg.nii")}


# -- data sets of others ------------------------------------------------------------------------------------------


def nnunet(root, **dataset):
    folder(root, "imagesTr/x_0000.nii.gz", "imagesTr/y_0000.nii.gz", "labelsTr/x.nii.gz", "imagesTs/z_0000.nii.gz")
    if dataset:
        (root / "dataset.json").write_text(json.dumps(dataset))
    return root


@pytest.mark.parametrize("inner", ["", "imagesTr"])
def test_a_data_set_of_nnunet_is_read_with_its_test_scans_as_unlabelled(inner, tmp_path):
    nnunet(tmp_path, channel_names={"0": "CT"}, labels={"background": 0, "liver": 1}, file_ending=".nii.gz")
    pairing = pair(tmp_path / inner)
    assert found(pairing) == {
        "x": ("x_0000.nii.gz", "x.nii.gz"),
        "y": ("y_0000.nii.gz", None),
        "z": ("z_0000.nii.gz", None),
    }
    assert [(spec.value, spec.name) for spec in pairing.classes or ()] == [(1, "liver")]
    assert pairing.notes == []


def test_a_second_channel_is_refused(tmp_path):
    nnunet(folder(tmp_path, "imagesTr/x_0001.nii.gz"))
    with pytest.raises(ScanError, match=r"x_0001\.nii\.gz is a further channel of x, and a pool takes one channel"):
        pair(tmp_path)


def test_a_data_set_of_the_decathlon_is_read(tmp_path):
    folder(tmp_path, "imagesTr/._hip_001.nii.gz", "labelsTr/._hip_001.nii.gz", "imagesTs/hip_003.nii.gz")
    folder(tmp_path, "imagesTr/hip_001.nii.gz", "imagesTr/hip_002.nii.gz", "labelsTr/hip_001.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "Anterior"}}))
    pairing = pair(tmp_path)
    assert found(pairing) == {
        "hip_001": ("hip_001.nii.gz", "hip_001.nii.gz"),
        "hip_002": ("hip_002.nii.gz", None),
        "hip_003": ("hip_003.nii.gz", None),
    }
    assert [spec.name for spec in pairing.classes or ()] == ["Anterior"]
    assert pairing.unmatched == pairing.notes == []


def test_four_digits_are_a_number_where_the_masks_have_them_too(tmp_path):
    folder(tmp_path, "imagesTr/la_0000.nii", "imagesTr/la_0001.nii", "labelsTr/la_0001.nii")
    assert found(pair(tmp_path)) == {"la_0000": ("la_0000.nii", None), "la_0001": ("la_0001.nii", "la_0001.nii")}
    folder(tmp_path, "one/x_0000.nii", "one/x_0000_seg.nii")
    assert found(pair(tmp_path / "one")) == {"x_0000": ("x_0000.nii", "x_0000_seg.nii")}
    folder(tmp_path, "plain/la_0000.nii", "plain/la_0001.nii")
    assert list(found(pair(tmp_path / "plain"))) == ["la_0000", "la_0001"]


def test_channel_names_pair_with_endings_too(tmp_path):
    pairing = pair(folder(tmp_path, "x_0000.nii", "y_0000.nii", "x_seg.nii"))
    assert found(pairing) == {"x": ("x_0000.nii", "x_seg.nii"), "y": ("y_0000.nii", None)}


def test_masks_of_a_data_set_may_lie_elsewhere(tmp_path):
    nnunet(folder(tmp_path, "mine/y.nii"))
    assert found(pair(tmp_path, tmp_path / "mine"))["y"] == ("y_0000.nii.gz", "y.nii")


def test_a_dataset_file_that_cannot_be_used_is_noted(tmp_path):
    pairing = pair(nnunet(tmp_path, labels={"whole": [1, 2]}))
    assert pairing.classes is None
    (note,) = pairing.notes
    assert note.startswith("dataset.json cannot be used for the classes: ")


# -- names of cases -----------------------------------------------------------------------------------------------


def test_scans_whose_names_become_equal_are_numbered(tmp_path):
    folder(tmp_path, "imagesTr/a b.nii", "imagesTr/a_b.nii", "imagesTr/a+b.nii", "imagesTs/A_B.nii")
    pairing = pair(tmp_path)
    assert found(pairing) == {
        "a_b": ("a b.nii", None),
        "a_b_2": ("a+b.nii", None),
        "a_b_3": ("a_b.nii", None),
        "A_B_4": ("A_B.nii", None),
    }
    assert pairing.notes == [
        "Cases need plain file names, each its own: a b becomes a_b, a+b becomes a_b_2, a_b becomes a_b_3, "
        "A_B becomes A_B_4."
    ]


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("patient 01", "patient_01"),
        ("a..b", "a.b"),
        ("..", "case"),
        ("-rf", "rf"),
        ("Müller", "Muller"),
        ("Größe Test", "Grosse_Test"),
        ("患者", "case"),
        ("NUL", "case_NUL"),
        ("com1.x", "case_com1.x"),
        ("1.2.840.113619", "1.2.840.113619"),
    ],
)
def test_a_case_has_a_plain_file_name(name, case):
    assert _safe(name) == case


@given(st.text("aZ09._-/\\:~ \0\nü患", max_size=150))
def test_no_name_leads_out_of_a_folder_or_hides_a_file(name):
    case = _safe(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", case)
    assert ".." not in case
    assert not case.endswith(".")
    assert len(case) <= 110
    assert _safe(case) == case


def test_files_of_other_formats_are_told_of(tmp_path):
    folder(tmp_path, "images/a.nii.gz", "images/b.nrrd", "images/c.dcm", "images/d.dcm", "images/dataset.json")
    pairing = pair(tmp_path / "images")
    assert list(found(pairing)) == ["a"]
    assert "Files in images that are no NIfTI are left out: 2 .dcm, 1 .nrrd; convert scans to .nii.gz." in pairing.notes
