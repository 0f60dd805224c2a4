-- The guarded merge: what an expert would write by hand, for this table alone.
-- Runs in one transaction. It keeps no tombstones and no progress.

set local datestyle = 'iso, mdy';
set local timezone = 'UTC';
set local work_mem = '256MB';
set local client_min_messages = 'warning';

create schema if not exists merged;
set local search_path = merged;

create table if not exists account (
    id uuid primary key,
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

create unlogged table staging (like account);
-- copy staging
analyze staging;

-- One change of each id: a delete has no version and is the last; else the newest.
delete from staging as s
using (
    select ctid, row_number() over (
        partition by id
        order by isdelete desc nulls last, versionnumber desc, sinkmodifiedon desc
    ) as place
    from staging
) as d
where s.ctid = d.ctid and d.place > 1;

delete from account as t
using staging as s
where t.id = s.id and s.isdelete;

update account as t
set sinkcreatedon = s.sinkcreatedon,
    sinkmodifiedon = s.sinkmodifiedon,
    name = s.name,
    description = s.description,
    statecode = s.statecode,
    numberofemployees = s.numberofemployees,
    donotemail = s.donotemail,
    creditonhold = s.creditonhold,
    revenue = s.revenue,
    exchangerate = s.exchangerate,
    versionnumber = s.versionnumber,
    createdon = s.createdon,
    modifiedon = s.modifiedon,
    isdelete = s.isdelete
from staging as s
where t.id = s.id
    and s.isdelete is not true
    and s.versionnumber > t.versionnumber;

insert into account
select s.*
from staging as s
where s.isdelete is not true
    and not exists (select from account as t where t.id = s.id);

drop table staging;
