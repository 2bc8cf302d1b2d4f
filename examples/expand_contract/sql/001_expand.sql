-- What is new stands beside what is old: code of before does not see it, new code writes both.
ALTER TABLE people ADD COLUMN IF NOT EXISTS full_name text;
