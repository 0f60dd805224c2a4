-- The least that a first load can cost: COPY into a new table, then its key.
-- Nothing is compared; a key that comes twice would be an error.

set local datestyle = 'iso, mdy';
set local timezone = 'UTC';
set local client_min_messages = 'warning';

create schema if not exists copied;
set local search_path = copied;

create table account (
    id uuid,
    sinkcreatedon timestamptz,
    sinkmodifiedon timestamptz,
    name text,
    description text,
    statecode bigint,
    numberofemployees bigint,
    donotemail boolean,
    creditonhold boolean,
    revenue numeric,
    exchangerate numeric,
    versionnumber bigint,
    createdon timestamptz,
    modifiedon timestamptz,
    isdelete boolean
);
-- copy account
alter table account add primary key (id);
