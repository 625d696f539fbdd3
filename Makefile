# make demo   the whole way on made-up scans: in a window, training already; without a screen masks and pictures in demo/
# make test   all checks: style, types, imports, tests
# make lint   the checks without the tests
#
# Everything is installed into .venv, which is used again until pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt
INSTALLED_BY := Makefile pyproject.toml constraints.txt

# What Qt and a virtual screen need on Debian and Ubuntu beside Python.
QT_PACKAGES := xvfb libgl1 libgl1-mesa-dri libegl1 libdbus-1-3 libfontconfig1 libglib2.0-0 libxkbcommon-x11-0 \
	libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 \
	libxcb-sync1 libxcb-util1 libxcb-xfixes0 libxcb-xkb1

# Where a window can be shown: on macOS always.
SCREEN := $(or $(DISPLAY),$(WAYLAND_DISPLAY),$(filter Darwin,$(shell uname)))

.PHONY: demo test lint
.DELETE_ON_ERROR:

ifdef SCREEN
demo: $(VENV)/installed-with-window $(VENV)/screen
	$(BIN)/napari-bcp demo demo --window
else
demo: $(VENV)/installed
	$(BIN)/napari-bcp demo demo --no-window
endif

# Two processes: windows under software OpenGL wait for each other's pictures most of the time. Where there is Xvfb,
# each has a screen of its own (pytest-xvfb): on a shared one they would take the keyboard from each other.
test: export LIBGL_ALWAYS_SOFTWARE = 1
test: export QT_API = pyside6
test: lint $(VENV)/screen
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/typos
	$(BIN)/npe2 validate napari_bcp/napari.yaml

$(VENV)/installed: $(INSTALLED_BY) | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-with-window: $(INSTALLED_BY) | $(BIN)/python
	$(PIP) --editable '.[pyside6]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-for-tests: $(INSTALLED_BY) | $(BIN)/python
	$(PIP) --editable '.[dev,pyside6]'
	@touch $@ $(VENV)/installed $(VENV)/installed-with-window

# Without these packages the tests that need no screen still run.
$(VENV)/screen: Makefile | $(BIN)/python
	@if [ "$$(uname)" != Linux ] || .ci/system-packages $(QT_PACKAGES); then touch $@; fi

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/system-packages \
		$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
	$(PYTHON) -m venv $(VENV)
