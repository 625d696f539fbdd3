"""The tables of a pool, as the steps that build them: step N takes a table of version N to N + 1.

A step that has been published is never edited; a change is a new step.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x6E626370
"""Stands in the file's header and tells a pool's table from any other SQLite file."""

MIGRATIONS: Final[list[tuple[str, ...]]] = [
    (
        """CREATE TABLE classes (
            value INTEGER PRIMARY KEY CHECK (value BETWEEN 1 AND 255),
            name TEXT NOT NULL,
            colour TEXT NOT NULL
        )""",
        """CREATE TABLE cases (
            name TEXT PRIMARY KEY COLLATE NOCASE,
            scan TEXT NOT NULL UNIQUE,
            status TEXT NOT NULL
                CHECK (status IN ('unlabelled', 'predicted', 'draft', 'accepted', 'excluded', 'unusable')),
            before TEXT CHECK (before IN ('unlabelled', 'predicted', 'draft', 'accepted')),
            reason TEXT NOT NULL DEFAULT '',
            shape TEXT,
            spacing TEXT,
            size INTEGER,
            mtime_ns INTEGER,
            digest TEXT,
            mask_version INTEGER,
            changed TEXT NOT NULL,
            FOREIGN KEY (name, mask_version) REFERENCES masks (case_name, version)
        ) WITHOUT ROWID""",
        "CREATE INDEX cases_by_status ON cases (status)",
        """CREATE TABLE masks (
            case_name TEXT NOT NULL COLLATE NOCASE REFERENCES cases (name),
            version INTEGER NOT NULL CHECK (version > 0),
            accepted_by TEXT NOT NULL CHECK (accepted_by IN ('person', 'rule')),
            time TEXT NOT NULL,
            PRIMARY KEY (case_name, version)
        ) WITHOUT ROWID""",
        """CREATE TABLE maps (
            case_name TEXT PRIMARY KEY COLLATE NOCASE REFERENCES cases (name),
            run TEXT NOT NULL,
            step INTEGER NOT NULL,
            map_file TEXT NOT NULL,
            pseudo_file TEXT NOT NULL,
            quality TEXT NOT NULL,
            entropy REAL NOT NULL,
            volume_ml TEXT NOT NULL,
            islands TEXT NOT NULL,
            time TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY,
            preset TEXT NOT NULL,
            config TEXT NOT NULL,
            plan TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('planned', 'running', 'stopped', 'finished', 'failed')),
            step INTEGER NOT NULL DEFAULT 0,
            elapsed_s REAL NOT NULL DEFAULT 0,
            checkpoint TEXT,
            started TEXT NOT NULL,
            changed TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            time TEXT NOT NULL,
            case_name TEXT COLLATE NOCASE,
            what TEXT NOT NULL,
            details TEXT NOT NULL,
            who TEXT NOT NULL
        )""",
        "CREATE INDEX events_by_case ON events (case_name)",
        """CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
            BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
        """CREATE TRIGGER events_are_never_removed BEFORE DELETE ON events
            BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
    ),
]
