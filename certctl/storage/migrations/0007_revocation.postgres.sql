-- The lock is held until the COMMIT, so that numbers become visible in their order; the function is volatile, so that
-- what it reads is of the moment after the lock was given. The number of the lock is any that nothing else uses.
-- The newest number is asked for by its order, and not by max(): PostgreSQL may read all numbers for that, where its
-- statistics say that hardly anything is revoked.
CREATE FUNCTION certctl_number_revocation() RETURNS TRIGGER LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7305251, hashtext(NEW.issuer_id));
    SELECT revocation_number + 1 INTO NEW.revocation_number FROM certificate_versions
        WHERE issuer_id = NEW.issuer_id AND revocation_number IS NOT NULL
        ORDER BY issuer_id DESC, revocation_number DESC LIMIT 1;
    NEW.revocation_number := coalesce(NEW.revocation_number, 1);
    RETURN NEW;
END $$;

CREATE TRIGGER certificate_versions_revoking BEFORE INSERT OR UPDATE OF revoked_at ON certificate_versions
    FOR EACH ROW WHEN (NEW.revoked_at IS NOT NULL AND NEW.revocation_number IS NULL)
    EXECUTE FUNCTION certctl_number_revocation();
