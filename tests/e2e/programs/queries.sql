-- SPDX-License-Identifier: GPL-2.0-or-later
create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
insert into t select i, printf('row %05d', (i * 7919) % 2003), i / 7.0 from n;
create index by_b on t(b);
select count(*), sum(a), round(avg(c), 6), min(b), max(b) from t;
select a, b from t where b like 'row 001%' order by b limit 5;
select t1.a % 10 as k, count(*) from t as t1 join t as t2 on t1.a = t2.a + 1 group by k order by k;
update t set c = c * 2 where a % 3 = 0;
delete from t where a > 1500;
select count(*), round(sum(c), 6) from t;
pragma integrity_check;
select json_extract('{"a": [1, 2, {"b": 3}]}', '$.a[2].b'), hex('ab'), upper(trim('  x '));
