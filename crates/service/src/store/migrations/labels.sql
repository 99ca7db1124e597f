-- An addition that earlier programs can live with, so that `user_version` stays: they show and filter no labels.
CREATE TABLE task_label (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    seq INTEGER NOT NULL REFERENCES task (seq) ON DELETE CASCADE,
    PRIMARY KEY (tenant, key, value, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX task_label_by_task ON task_label (seq);
