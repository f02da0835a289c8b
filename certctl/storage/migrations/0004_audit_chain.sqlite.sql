CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only: no UPDATE');
END;
CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only: no DELETE');
END;
CREATE TRIGGER audit_batches_no_update BEFORE UPDATE ON audit_batches BEGIN
    SELECT RAISE(ABORT, 'audit_batches is append-only: no UPDATE');
END;
CREATE TRIGGER audit_batches_no_delete BEFORE DELETE ON audit_batches BEGIN
    SELECT RAISE(ABORT, 'audit_batches is append-only: no DELETE');
END;
CREATE TRIGGER audit_checkpoints_no_update BEFORE UPDATE ON audit_checkpoints BEGIN
    SELECT RAISE(ABORT, 'audit_checkpoints is append-only: no UPDATE');
END;
CREATE TRIGGER audit_checkpoints_no_delete BEFORE DELETE ON audit_checkpoints BEGIN
    SELECT RAISE(ABORT, 'audit_checkpoints is append-only: no DELETE');
END;

-- REPLACE deletes without asking the triggers above. An id that SQLite is to choose is -1 here.
CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN NEW.id > 0 AND EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only: no REPLACE');
END;
