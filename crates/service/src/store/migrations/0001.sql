-- One row a task. The large columns come last, so that lists read none of their pages.
CREATE TABLE task (
    -- The order of submission. The clock may jump; this does not, and is never given twice.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('saved', 'queued', 'starting', 'running', 'ended', 'cancelled')),
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    -- The order of the queue; kept when a task goes back to its place.
    queue_seq INTEGER,
    -- Wall clock, for people.
    created_us INTEGER NOT NULL,
    queued_us INTEGER,
    started_us INTEGER,
    ended_us INTEGER,
    ticket TEXT,
    waiting_for TEXT,
    end_kind TEXT,
    exit_code INTEGER,
    python_cache TEXT,
    system_cache TEXT,
    total_us INTEGER,
    idempotency_key TEXT UNIQUE,
    body_digest BLOB,
    spec TEXT NOT NULL,
    outcome TEXT,
    CHECK ((state IN ('starting', 'running')) <= (ticket IS NOT NULL)),
    CHECK ((state IN ('queued', 'starting', 'running')) <= (queue_seq IS NOT NULL)),
    CHECK ((state IN ('saved', 'queued')) <= (ticket IS NULL)),
    CHECK ((state IN ('ended', 'cancelled')) = (ended_us IS NOT NULL)),
    CHECK ((state = 'ended') <= (outcome IS NOT NULL AND end_kind IS NOT NULL)),
    CHECK ((outcome IS NOT NULL) <= (state IN ('ended', 'cancelled'))),
    CHECK ((idempotency_key IS NULL) = (body_digest IS NULL))
) STRICT;

CREATE INDEX task_by_state ON task (state, seq);
CREATE UNIQUE INDEX task_in_queue ON task (queue_seq) WHERE state = 'queued';
CREATE INDEX task_by_queue_seq ON task (queue_seq);
CREATE INDEX task_by_end_kind ON task (end_kind, seq) WHERE end_kind IS NOT NULL;
CREATE INDEX task_by_end ON task (ended_us) WHERE ended_us IS NOT NULL;

-- The steps of the state machine, as in state.rs; a test compares the two.
CREATE TABLE step (
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    PRIMARY KEY (before, after)
) STRICT, WITHOUT ROWID;

INSERT INTO step (before, after) VALUES
    ('saved', 'queued'),
    ('saved', 'cancelled'),
    ('queued', 'starting'),
    ('queued', 'cancelled'),
    ('starting', 'queued'),
    ('starting', 'running'),
    ('starting', 'ended'),
    ('starting', 'cancelled'),
    ('running', 'ended'),
    ('running', 'cancelled');

CREATE TRIGGER task_begins_saved BEFORE INSERT ON task WHEN NEW.state <> 'saved'
BEGIN
    SELECT RAISE(ABORT, 'a task begins as saved');
END;

CREATE TRIGGER task_steps BEFORE UPDATE OF state ON task
WHEN OLD.state <> NEW.state AND NOT EXISTS (SELECT 1 FROM step WHERE before = OLD.state AND after = NEW.state)
BEGIN
    SELECT RAISE(ABORT, 'there is no such step');
END;

CREATE TRIGGER task_kept_while_under_way BEFORE DELETE ON task WHEN OLD.state IN ('queued', 'starting', 'running')
BEGIN
    SELECT RAISE(ABORT, 'a task under way is not deleted');
END;

-- What the cache volumes held, at times.
CREATE TABLE volume_use (
    at_us INTEGER NOT NULL,
    volume TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    inodes INTEGER NOT NULL
) STRICT;

CREATE INDEX volume_use_by_time ON volume_use (at_us);
