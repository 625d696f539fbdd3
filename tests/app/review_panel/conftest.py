"""The Review panel of a case made by hand, in a window of its own or in napari's."""

import pytest
from canvas_cases import HandMadeCase, HandMadeSession
from napari.components import ViewerModel
from pool_sessions import a_proposal

from napari_bcp.app.panels.review import ReviewPanel
from napari_bcp.app.theme import colours_of


@pytest.fixture
def session():
    """A session whose case a reader can edit at once, another case being proposed next."""
    made = HandMadeSession(HandMadeCase())
    made.proposals = [a_proposal("case_b", "picked at random, to keep the view honest", "random")]
    return made


@pytest.fixture
def show(make_napari_viewer, qtbot):
    """Return a function that shows a session's panel in a window; all is taken down in the end."""
    panels = []

    def make(session):
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1280, 800)
        panel = ReviewPanel(session, viewer)
        panel.set_colours(colours_of("dark"))
        panels.append(panel)
        viewer.window.add_dock_widget(panel, name="Review")
        viewer.window.activate()
        qtbot.waitUntil(lambda: panel.isVisible() and panel.isActiveWindow(), timeout=30_000)
        return viewer, panel

    yield make
    for panel in panels:
        panel.close_down()


@pytest.fixture
def alone(session, qtbot):
    """A viewer without a window, and the panel of the case in a window of its own: a blink instead of seconds."""
    viewer = ViewerModel()
    panel = ReviewPanel(session, viewer)
    qtbot.addWidget(panel, before_close_func=ReviewPanel.close_down)
    panel.set_colours(colours_of("dark"))
    panel.resize(420, 700)
    panel.show()
    panel.activateWindow()
    qtbot.waitUntil(panel.isActiveWindow)
    return viewer, panel


@pytest.fixture
def shown(request):
    """The same in napari's window, for what has to work from the canvas; a click does not need it."""
    by_key = getattr(request.node, "callspec", None) is None or request.node.callspec.params.get("by_key", True)
    return request.getfixturevalue("napari_shown" if by_key else "alone")


@pytest.fixture
def napari_shown(show, session):
    """The viewer and the panel of the case in napari's window."""
    return show(session)


@pytest.fixture
def viewer(alone):
    return alone[0]


@pytest.fixture
def panel(alone):
    return alone[1]
