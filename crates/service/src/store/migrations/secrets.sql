-- An addition that earlier programs can live with, so that `user_version` stays: they end tasks that have secrets as failed.
-- The values of a task's secret variables, until its driver has them.
CREATE TABLE task_secret (
    seq INTEGER PRIMARY KEY REFERENCES task (seq) ON DELETE CASCADE,
    env TEXT NOT NULL
) STRICT;
