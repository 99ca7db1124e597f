-- Each task belongs to a tenant; what was kept before belongs to `default`. The column comes behind the large ones, so every
-- query finds it in an index and reads no row for it. `idempotency_key` is unique as it stands: a key of another tenant than
-- `default` is stored behind the tenant's name and a space, which no key of a client holds.
ALTER TABLE task ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default' CHECK (tenant <> '');

CREATE UNIQUE INDEX task_by_owner ON task (tenant, id);
CREATE INDEX task_by_tenant ON task (tenant, seq);
CREATE INDEX task_by_tenant_state ON task (tenant, state, seq);
CREATE INDEX task_by_tenant_end_kind ON task (tenant, end_kind, seq) WHERE end_kind IS NOT NULL;
CREATE INDEX task_by_tenant_end ON task (tenant, ended_us) WHERE ended_us IS NOT NULL;
CREATE UNIQUE INDEX task_in_tenants_queue ON task (tenant, queue_seq) WHERE state = 'queued';
DROP INDEX task_by_state;
DROP INDEX task_by_end_kind;
DROP INDEX task_in_queue;

-- What cursors are made with: a list's place tells nobody how many tasks others have.
CREATE TABLE secret (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO secret (name, value) VALUES ('cursor', randomblob(32));
