"""Files of classes: own JSON, plain text, and the data sets of others."""

import json
from itertools import combinations

import numpy as np
import pytest
from skimage.color import rgb2lab

from napari_bcp.errors import SettingError
from napari_bcp.scans import ClassSpec, default_classes, read_classes, write_classes
from napari_bcp.scans.classes import COLOURS, default_colour, parse_class

TWO = (ClassSpec(1, "liver", "#e69f00"), ClassSpec(2, "portal vein", "#123abc"))


def written(folder, content, name="classes.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def names(classes):
    return {spec.value: spec.name for spec in classes}


def test_classes_without_names_are_called_after_their_values():
    classes = default_classes([3, 1, 0, 3])
    assert names(classes) == {1: "class 1", 3: "class 3"}


def test_default_colours_stay_with_the_value():
    first = default_classes(range(1, 8))
    assert default_classes([3])[0].colour == first[2].colour


def test_written_classes_are_read_back(tmp_path):
    write_classes(tmp_path / "classes.json", TWO)
    assert read_classes(tmp_path / "classes.json") == TWO


@pytest.mark.parametrize(
    "content",
    [
        {"1": "liver", "2": "portal vein"},
        {"2": {"name": "portal vein"}, "1": {"name": "liver", "colour": "#e69f00"}},
        {"0": "background", "1": " liver ", "2": "portal vein"},
        {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "portal vein"}},
        {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, "liver": 1, "portal vein": 2},
            "file_ending": ".nii",
        },
        "1 liver\n2 portal vein\n",
        "# value, name, colour\n\n0 background\n2\tportal  vein\n1 liver #e69f00",
        "\ufeff1 liver\r\n2 portal vein\r\n",
    ],
)
def test_classes_are_read_from_every_known_form(content, tmp_path):
    classes = read_classes(written(tmp_path, content))
    assert names(classes) == {1: "liver", 2: "portal vein"}
    assert classes[0] == TWO[0]


def test_colours_are_read_from_json_and_text(tmp_path):
    as_json = read_classes(written(tmp_path, {"2": {"name": "portal vein", "colour": "#123abc"}}))
    as_text = read_classes(written(tmp_path, "2 portal vein #123abc", "classes.txt"))
    assert as_json == as_text == TWO[1:]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "no class in it"),
        ({}, "no class in it"),
        ({"0": "background"}, "no class in it"),
        ("{", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ([1, 2], 'write {"1": "liver"'),
        ({"labels": [1, 2]}, 'write {"1": "liver"'),
        ({"1": "liver", "2": "liver"}, "Class 2 'liver' has a value or name that is taken"),
        ("1 liver\n01 spleen", "a value or name that is taken"),
        ({"256": "liver"}, "256 is no value of a class"),
        ({"9" * 5000: "liver"}, "is no value of a class"),
        ({"liver": 1.5}, "is no value of a class"),
        ({"liver": "1"}, "is no value of a class"),
        ({"liver": True}, "True is no value of a class"),
        ({"liver": None}, "is no value of a class"),
        ({"liver": -1}, "-1 is no value of a class"),
        ({"1": ""}, "no name of class 1"),
        ({"1": "a\nb"}, "no name of class 1"),
        ({"1": "\x1b[31mred"}, "no name of class 1"),
        ({"1": "x" * 81}, "no name of class 1"),
        ({"1": 7}, "7 is no name of class 1"),
        ({"1": {"colour": "#e69f00"}}, "None is no name of class 1"),
        ({"1": {"name": "liver", "colour": "red"}}, "'red' is no colour of class 1"),
        ({"1": {"name": "liver", "colour": 5}}, "5 is no colour of class 1"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "region of several classes"),
        ({"labels": {"background": 0, "liver": 1, "ignore": 2}}, "voxels to ignore are not supported"),
        ("liver 1", "'liver 1' is no line of the form"),
        ("1", "'1' is no line of the form"),
    ],
)
def test_a_file_that_does_not_name_classes_is_refused(content, sentence, tmp_path):
    with pytest.raises(SettingError, match=r"classes\.json cannot be used for the classes: ") as caught:
        read_classes(written(tmp_path, content))
    assert sentence in str(caught.value)
    assert caught.value.path == tmp_path / "classes.json"


def test_a_missing_binary_or_giant_file_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"none\.json cannot be read"):
        read_classes(tmp_path / "none.json")
    (tmp_path / "scan.nii").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SettingError, match=r"scan\.nii is no text"):
        read_classes(tmp_path / "scan.nii")
    with (tmp_path / "giant.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(SettingError, match=r"giant\.json is too large"):
        read_classes(tmp_path / "giant.json")


# Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009: what linear RGB becomes without one kind of cone.
_SEEN = {
    "by most": np.eye(3),
    "without red cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "without green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "without blue cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


@pytest.mark.parametrize("eyes", _SEEN)
def test_colours_of_classes_are_told_apart_by_everybody(eyes):
    """Ten is what nobody overlooks in CIELAB; the colours of one pool are as many as there are."""
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.transpose(_SEEN[eyes])
    linear = linear.clip(0, 1)
    seen = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    lab = rgb2lab(seen[None])[0]
    apart = {(a, b): np.linalg.norm(lab[a] - lab[b]) for a, b in combinations(range(len(COLOURS)), 2)}
    assert min(apart.values()) > 15, min(apart, key=apart.get)
    assert len({default_colour(value) for value in range(1, len(COLOURS) + 1)}) == len(COLOURS) == 14


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4=tumour", (4, "tumour", "")),
        (" 4 = portal vein ", (4, "portal vein", "")),
        ("4=tumour:#cc79a7", (4, "tumour", "#cc79a7")),
        ("4=a=b: c", (4, "a=b: c", "")),
    ],
)
def test_a_class_is_named_in_a_word(text, found):
    assert parse_class(text) == found


@pytest.mark.parametrize("text", ["tumour", "=tumour", "four=tumour", "4", "-4=tumour", "9" * 50 + "=x"])
def test_a_word_that_names_no_class_is_refused(text):
    with pytest.raises(SettingError):
        parse_class(text)
