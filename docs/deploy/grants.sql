-- The role of dvsync with the least that it needs, in the database that DATABASE_URL
-- will name. Make that database first (createdb), connect to it, and run this as a
-- superuser, or as the owner of the database with the right to create roles:
--   psql -v ON_ERROR_STOP=1 -f docs/deploy/grants.sql postgres://postgres@host/crm
-- Then give a new role a password: \password dvsync
--
-- It may be run again, and in further databases of the same server: a role that is
-- there stays as it is, its password too.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dvsync') THEN
        CREATE ROLE dvsync LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
    END IF;
    -- CREATE: a schema for each sync. TEMPORARY: the staging tables of the loads.
    EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO dvsync',
                   current_database());
END
$$;

-- dvsync's own tables.
GRANT USAGE, CREATE ON SCHEMA public TO dvsync;

-- Who may not give a right gets a warning from PostgreSQL, no error.
DO $$
BEGIN
    IF NOT has_database_privilege('dvsync', current_database(), 'CREATE')
        OR NOT has_schema_privilege('dvsync', 'public', 'CREATE')
    THEN
        RAISE EXCEPTION '% may not give these rights in %. Run this as a superuser or '
            'as the owner of the database.', current_user, current_database();
    END IF;
END
$$;
