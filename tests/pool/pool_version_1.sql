PRAGMA application_id = 1851941744;
BEGIN TRANSACTION;
CREATE TABLE cases (
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
        ) WITHOUT ROWID;
INSERT INTO "cases" VALUES('a','../images/a.nii.gz','accepted',NULL,'','[5, 6, 7]','[0.8, 0.8, 2.5]',472,1795449989783017290,'07ec5c96bf3eb65e16e56bd86a86bdf8',2,'2026-11-23T16:06:29.986+00:00');
INSERT INTO "cases" VALUES('b','../images/b.nii.gz','predicted',NULL,'','[5, 6, 7]','[0.8, 0.8, 2.5]',472,1795449989792501377,'07ec5c96bf3eb65e16e56bd86a86bdf8',NULL,'2026-11-23T16:06:30.021+00:00');
INSERT INTO "cases" VALUES('c','../images/c.nii.gz','unlabelled',NULL,'','[5, 6, 7]','[0.8, 0.8, 2.5]',472,1795449989796039684,'07ec5c96bf3eb65e16e56bd86a86bdf8',NULL,'2026-11-23T16:06:29.893+00:00');
INSERT INTO "cases" VALUES('d','../images/d.nii.gz','unusable','unlabelled','It is blurred.','[5, 6, 7]','[0.8, 0.8, 2.5]',472,1795449989803087713,'07ec5c96bf3eb65e16e56bd86a86bdf8',NULL,'2026-11-23T16:06:30.039+00:00');
CREATE TABLE classes (
            value INTEGER PRIMARY KEY CHECK (value BETWEEN 1 AND 255),
            name TEXT NOT NULL,
            colour TEXT NOT NULL
        );
INSERT INTO "classes" VALUES(1,'class 1','#e69f00');
INSERT INTO "classes" VALUES(2,'class 2','#56b4e9');
CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            time TEXT NOT NULL,
            case_name TEXT COLLATE NOCASE,
            what TEXT NOT NULL,
            details TEXT NOT NULL,
            who TEXT NOT NULL
        );
INSERT INTO "events" VALUES(1,'2026-11-23T16:06:29.888+00:00',NULL,'pool created','{"images": "/tmp/v1/images", "labels": null}','root');
INSERT INTO "events" VALUES(2,'2026-11-23T16:06:29.893+00:00','a','case added','{}','root');
INSERT INTO "events" VALUES(3,'2026-11-23T16:06:29.893+00:00','b','case added','{}','root');
INSERT INTO "events" VALUES(4,'2026-11-23T16:06:29.893+00:00','c','case added','{}','root');
INSERT INTO "events" VALUES(5,'2026-11-23T16:06:29.893+00:00','d','case added','{}','root');
INSERT INTO "events" VALUES(6,'2026-11-23T16:06:29.947+00:00','a','accept','{"from": "unlabelled", "to": "accepted", "version": 1, "by": "person"}','root');
INSERT INTO "events" VALUES(7,'2026-11-23T16:06:29.986+00:00','a','accept','{"from": "accepted", "to": "accepted", "version": 2, "by": "person"}','root');
INSERT INTO "events" VALUES(8,'2026-11-23T16:06:30.022+00:00','b','predict','{"from": "unlabelled", "to": "predicted", "run": "0001", "step": 1}','root');
INSERT INTO "events" VALUES(9,'2026-11-23T16:06:30.041+00:00','d','mark unusable','{"from": "unlabelled", "to": "unusable", "reason": "It is blurred."}','root');
INSERT INTO "events" VALUES(10,'2026-11-23T16:06:30.060+00:00',NULL,'run planned','{"run": "0001", "preset": "quick"}','root');
INSERT INTO "events" VALUES(11,'2026-11-23T16:06:30.082+00:00',NULL,'run running','{"run": "0001", "step": 12}','root');
CREATE TABLE maps (
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
        ) WITHOUT ROWID;
INSERT INTO "maps" VALUES('b','0001',1,'maps/b/000001.map','maps/b/000001.nii.gz','{"1": 0.75, "2": null}',0.25,'{"1": 1.5, "2": 0.0}','{"1": 3, "2": 0}','2026-11-23T16:06:30.022+00:00');
CREATE TABLE masks (
            case_name TEXT NOT NULL COLLATE NOCASE REFERENCES cases (name),
            version INTEGER NOT NULL CHECK (version > 0),
            accepted_by TEXT NOT NULL CHECK (accepted_by IN ('person', 'rule')),
            time TEXT NOT NULL,
            PRIMARY KEY (case_name, version)
        ) WITHOUT ROWID;
INSERT INTO "masks" VALUES('a',1,'person','2026-11-23T16:06:29.946+00:00');
INSERT INTO "masks" VALUES('a',2,'person','2026-11-23T16:06:29.985+00:00');
CREATE TABLE runs (
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
        ) WITHOUT ROWID;
INSERT INTO "runs" VALUES('0001','quick','{"seed": 1}','{"patch": [8, 8, 8]}','running',12,0.0,NULL,'2026-11-23T16:06:30.059+00:00','2026-11-23T16:06:30.081+00:00');
CREATE INDEX cases_by_status ON cases (status);
CREATE INDEX events_by_case ON events (case_name);
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
            BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER events_are_never_removed BEFORE DELETE ON events
            BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',11);
COMMIT;
PRAGMA user_version = 1;
