-- The role of dvsync with the least that it needs. Run it as a superuser (or the
-- owner of the database), connected to the database that DATABASE_URL will name:
--   psql -v ON_ERROR_STOP=1 -f docs/deploy/grants.sql postgres://postgres@host/crm
-- Then give the role a password: \password dvsync

CREATE ROLE dvsync LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;

DO $$
BEGIN
    -- CREATE: a schema for each sync. TEMPORARY: the staging tables of the loads.
    EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO dvsync',
                   current_database());
END
$$;

-- dvsync's own tables.
GRANT USAGE, CREATE ON SCHEMA public TO dvsync;
