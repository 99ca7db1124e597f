-- An addition that earlier programs can live with, so that `user_version` stays: they leave it at its default.
-- What a task holds on disk: its text, its outcome and what it printed. 0 where an earlier program kept it.
ALTER TABLE task ADD COLUMN kept_bytes INTEGER NOT NULL DEFAULT 0;

CREATE INDEX task_by_tenant_kept ON task (tenant, ended_us, kept_bytes) WHERE ended_us IS NOT NULL;
