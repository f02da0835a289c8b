CREATE TRIGGER certificate_versions_revoking AFTER UPDATE OF revoked_at ON certificate_versions
WHEN NEW.revoked_at IS NOT NULL AND NEW.revocation_number IS NULL BEGIN
    UPDATE certificate_versions SET revocation_number = (
        SELECT coalesce(max(revocation_number), 0) + 1 FROM certificate_versions
        WHERE issuer_id = NEW.issuer_id AND revocation_number IS NOT NULL
    ) WHERE id = NEW.id;
END;
CREATE TRIGGER certificate_versions_born_revoked AFTER INSERT ON certificate_versions
WHEN NEW.revoked_at IS NOT NULL AND NEW.revocation_number IS NULL BEGIN
    UPDATE certificate_versions SET revocation_number = (
        SELECT coalesce(max(revocation_number), 0) + 1 FROM certificate_versions
        WHERE issuer_id = NEW.issuer_id AND revocation_number IS NOT NULL
    ) WHERE id = NEW.id;
END;
