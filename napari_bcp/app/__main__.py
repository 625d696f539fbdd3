"""Open the window on a pool: python -m napari_bcp.app [POOL] [--sample FOLDER] [--train MINUTES]."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import napari
from qtpy.QtWidgets import QApplication

from napari_bcp.app.application import get_keeper

if TYPE_CHECKING:
    from napari_bcp.app.session import Session

TITLE = "Bidirectional Copy-Paste"


def main() -> None:
    """Show napari with the panels, a pool open, and the training begun if asked for."""
    parser = argparse.ArgumentParser(prog="python -m napari_bcp.app", description=__doc__)
    parser.add_argument("pool", nargs="?", type=Path, help="folder of the pool")
    parser.add_argument("--sample", type=Path, help="folder of the sample cohort, which is drawn there the first time")
    parser.add_argument("--train", type=float, metavar="MINUTES", help="begin to train")
    wishes = parser.parse_args()
    viewer = napari.Viewer(title=TITLE)
    application = QApplication.instance()
    if application is not None:
        for number in (signal.SIGINT, signal.SIGTERM):  # saves, and ends the training, as closing the window does
            signal.signal(number, lambda *_: application.quit())
    viewer.window.add_plugin_dock_widget("napari-bcp", TITLE)
    session = get_keeper().session
    if wishes.train:
        train_once_open(session, wishes.train)
    if wishes.sample is not None:
        session.open_sample(wishes.sample.resolve())
    elif wishes.pool is not None:
        session.open_pool(wishes.pool.resolve())
    napari.run()


def train_once_open(session: Session, minutes: float) -> None:
    """Start the training of the pool that is about to open, and show the case that comes first."""

    def begin() -> None:
        if session.pool is not None:
            session.pool_changed.disconnect(begin)
            session.start_training("quick", minutes, {})
            session.next_case()

    session.pool_changed.connect(begin)


if __name__ == "__main__":
    main()
